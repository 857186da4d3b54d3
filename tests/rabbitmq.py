"""RabbitMQ for tests: the server of the Debian package, with a folder, ports and a password of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import amqp
import pytest

from deploy.embedded.ports import LOOPBACK, assign_ports
from tests.stack.running import wait_until

# The one in PATH changes to an account of its own.
SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
HOW_TO_GET_IT = "RabbitMQ is not installed: apt-get install --no-install-recommends rabbitmq-server"

_START_LIMIT_S = 120.0
_STOP_LIMIT_S = 30.0


@dataclass(frozen=True)
class RabbitMq:
    """A running server."""

    port: int
    password: str

    @property
    def url(self) -> str:
        """Address, as CTCLIP_BROKER_URL takes it."""
        return f"amqp://ctclip:{self.password}@{LOOPBACK}:{self.port}//"


def require_rabbitmq() -> None:
    """Skip with the way to get it where RabbitMQ is missing."""
    if not SERVER.exists():
        pytest.skip(HOW_TO_GET_IT)


@contextmanager
def running_rabbitmq(folder: Path, settings_files: tuple[Path, ...] = ()) -> Iterator[RabbitMq]:
    """Run a server in a folder, with settings of its own after the given ones."""
    ports = assign_ports(("rabbitmq", "distribution", "names"), {})
    server = RabbitMq(ports["rabbitmq"], secrets.token_hex(16))
    environment = _make_environment(folder, ports, server.password, settings_files)
    # Erlang's register of names, which would outlive the server if the server started it.
    with _running(folder, environment, "/usr/bin/epmd"), _running(folder, environment, str(SERVER)) as process:
        wait_until(lambda: _answers(server, process), f"RabbitMQ in {folder} is ready", _START_LIMIT_S)
        yield server


@contextmanager
def _running(folder: Path, environment: Mapping[str, str], program: str) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / f"{Path(program).name}.log").open("wb") as output:
        process = subprocess.Popen(
            [program], env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=folder
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(_STOP_LIMIT_S)


def _make_environment(
    folder: Path, ports: Mapping[str, int], password: str, settings_files: tuple[Path, ...]
) -> dict[str, str]:
    settings = folder / "conf.d"
    settings.mkdir()
    for number, given in enumerate(settings_files):
        shutil.copy(given, settings / f"{number}-given.conf")
    (settings / "90-own.conf").write_text(
        f"listeners.tcp.1 = {LOOPBACK}:{ports['rabbitmq']}\ndefault_user = ctclip\ndefault_pass = {password}\n"
    )
    (folder / "plugins").write_text("[].\n")
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(ports["names"]),
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "RABBITMQ_NODENAME": f"ctclip-{ports['rabbitmq']}@localhost",
        "RABBITMQ_DIST_PORT": str(ports["distribution"]),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_CONFIG_FILE": str(folder / "none.conf"),
        "RABBITMQ_CONFIG_FILES": str(settings),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
    }


def _answers(server: RabbitMq, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "RabbitMQ ended before it was ready"
    try:
        with amqp.Connection(host=f"{LOOPBACK}:{server.port}", userid="ctclip", password=server.password):
            return True
    except (OSError, amqp.AMQPError):
        return False
