"""docker-compose.yml as plain processes: each service's own command, with what the file gives it and nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.stack.running import wait_until

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
PREPARE = Path("deploy", "docker", "prepare.sh")
COMPOSE = Path(sys.executable).with_name("docker-compose")
OURS = "ctclip/"
"""How the names of our own images begin."""

_HEALTH_LIMIT_S = 480.0
_STOP_LIMIT_S = 90.0
# As in a container: the root is read-only, and only what is named is not.
_READ_ONLY_ROOT = (
    'writable=$1; shift; IFS=:; for folder in $writable; do mount --bind "$folder" "$folder"; done; '
    'mount -o remount,bind,ro /; exec "$@"'
)


def prepare(folder: Path, *arguments: str) -> None:
    """Lay the file and what it names beside it into a folder, and make secrets and .env there as an operator would."""
    (folder / PREPARE.parent).mkdir(parents=True)
    for name in (FILE.name, ".env.example", PREPARE, PREPARE.with_name("rabbitmq.conf")):
        shutil.copy(ROOT / name, folder / name)
    subprocess.run(["sh", str(folder / PREPARE), *arguments], check=True, capture_output=True)


def read_services(folder: Path) -> dict[str, Any]:
    """Return the services that `docker compose up` would start in a folder, as Docker Compose itself reads the file."""
    done = subprocess.run(
        [str(COMPOSE), "config", "--format", "json"], cwd=folder, capture_output=True, text=True, check=True
    )
    services: dict[str, Any] = json.loads(done.stdout)["services"]
    return services


def read_all_services(folder: Path) -> dict[str, Any]:
    """Return the services of all profiles."""
    done = subprocess.run(
        [str(COMPOSE), "--profile", "*", "config", "--format", "json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    services: dict[str, Any] = json.loads(done.stdout)["services"]
    return services


@cache
def read_image_environment() -> dict[str, str]:
    """Return what the images set, from the Dockerfile."""
    text = (ROOT / "deploy" / "docker" / "Dockerfile").read_text().replace("\\\n", " ")
    stage = text.split(" AS runtime\n", 1)[1].split("\nFROM ", 1)[0]
    return dict(re.findall(r"(\w+)=(\S+)", re.search(r"^ENV (.*)$", stage, re.MULTILINE).group(1)))  # type: ignore[union-attr]  # there is one


@dataclass(frozen=True)
class Places:
    """What of a container's world lies elsewhere here: addresses of servers, ports that several would open, folders."""

    folder: Path
    addresses: Mapping[str, str]
    ports: Mapping[tuple[str, str], int]
    """By service and port in its container."""


class ServiceProcess:
    """One service: its command, environment and secrets out of the file, moved to the places of this machine."""

    def __init__(self, name: str, service: Mapping[str, Any], places: Places) -> None:
        self.name = name
        self._service = service
        self._places = places
        self._own = places.folder / "services" / name
        self._secrets = self._own / "secrets"
        self._tmp = self._own / "tmp"
        self._cache = places.folder / "cache"
        for path in (self._secrets, self._tmp, self._cache):
            path.mkdir(parents=True, exist_ok=True)
        for secret in service.get("secrets", ()):
            given = (places.folder / "secrets" / secret["source"]).read_text()
            (self._secrets / secret["source"]).write_text(self._move(given))

    def start(self) -> subprocess.Popen[bytes]:
        """Start the command of the service."""
        with (self._own / "log").open("wb") as log:
            return subprocess.Popen(
                [*self._isolation(), *self._translate(["/app/deploy/docker/start.sh", *self._service["command"]])],
                env=self.environment(),
                cwd=self._tmp,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def is_healthy(self) -> bool:
        """Ask what Docker would ask."""
        test = self._service["healthcheck"]["test"]
        done = subprocess.run(self._translate(test[1:]), env=self.environment(), capture_output=True, check=False)
        return done.returncode == 0

    def run(self, program: str, *arguments: str) -> str:
        """Run a command as `docker compose exec` would, and return what it printed."""
        command = [str(Path(sys.executable).with_name(program)), *arguments]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def environment(self) -> dict[str, str]:
        """Return the whole environment: nothing of this process's own gets in, but where programs are."""
        given = {**read_image_environment(), **self._service.get("environment", {})}
        moved = {name: self._move(str(value)) for name, value in given.items() if value is not None}
        # The images set no limit to threads; a shared machine of few cores is not what they are for.
        own = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        return {**moved, **own}

    def read_log(self) -> str:
        """Return what it said."""
        return (self._own / "log").read_text(errors="replace")

    def _isolation(self) -> Sequence[str]:
        if os.geteuid() != 0 or not _can_isolate():
            return ()
        writable = ":".join(str(path) for path in (self._tmp, self._cache))
        return ("unshare", "--mount", "--propagation", "private", "sh", "-c", _READ_ONLY_ROOT, "sh", writable)

    def _translate(self, command: Sequence[str]) -> list[str]:
        moved = [self._move(part) for part in command]
        return [sys.executable if part == "python" else part for part in moved]

    def _move(self, text: str) -> str:
        text = re.sub(r"^/tmp(?=/|$)", str(self._tmp), text)
        folders = {
            "/app/": f"{ROOT}/",
            "/run/secrets": str(self._secrets),
            "/var/cache/ctclip": str(self._cache),
            "0.0.0.0": "127.0.0.1",
        }
        for there, here in {**self._places.addresses, **folders}.items():
            text = text.replace(there, here)
        for (service, port), here_port in self._places.ports.items():
            if service == self.name:
                text = re.sub(rf"(^|[:=]){port}\b", rf"\g<1>{here_port}", text)
        return text


@cache
def _can_isolate() -> bool:
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


@contextmanager
def running_services(services: Mapping[str, Any], places: Places) -> Iterator[dict[str, ServiceProcess]]:
    """Run our own services as Docker Compose would: what ends first, then the others until each is healthy."""
    ours = {
        name: ServiceProcess(name, service, places)
        for name, service in services.items()
        if service["image"].startswith(OURS)
    }
    once = [name for name in ours if services[name].get("restart") == "no"]
    for name in once:
        assert ours[name].start().wait(_HEALTH_LIMIT_S) == 0, ours[name].read_log()
    with ExitStack() as stack:
        started = {}
        for name in ours.keys() - once:
            started[name] = ours[name].start()
            stack.callback(_stop, started[name])
        for name, process in started.items():
            wait_until(lambda: _is_up(ours[name], process), f"{name} is healthy", _HEALTH_LIMIT_S)  # noqa: B023
        yield ours
        for process in started.values():
            process.terminate()


def _is_up(service: ServiceProcess, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, f"{service.name} ended:\n{service.read_log()[-4000:]}"
    return service.is_healthy()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(_STOP_LIMIT_S)
