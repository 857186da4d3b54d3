"""Our own processes and Flower as the supervisor runs them: command lines, environments, readiness.

Nothing starts here.
"""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from deploy.embedded.credentials import PSEUDONYM_KEY, RECEIPT_KEY, Credentials
from deploy.embedded.ports import LOOPBACK
from deploy.embedded.program import Program, StopTurn
from deploy.embedded.state_folder import StateFolder
from shared.settings import Settings

GATEWAY = "gateway"
FLOWER = "flower"
_INTAKE_WORKER = "worker-intake"
_FUSION_WORKER = "worker-fusion"

WORKERS: Mapping[str, str] = {
    # The slowest to load goes first.
    "worker-models": "ct_clip,supervised,mednext,diffusion,segmentation,fvlm",
    _INTAKE_WORKER: "intake",
    _FUSION_WORKER: "fusion",
}

_KEY_HOLDERS: Mapping[str, Collection[str]] = {PSEUDONYM_KEY: {_INTAKE_WORKER}, RECEIPT_KEY: {_FUSION_WORKER, GATEWAY}}

_DELIVERY = "worker-delivery"
_CONTROL = "control"

METRICS_OF: Mapping[str, str] = {name: f"{name}-metrics" for name in (*WORKERS, _CONTROL, _DELIVERY)}
"""The name of the port on which each process answers Prometheus; the gateway does on its own."""

PORT_NAMES = (GATEWAY, FLOWER, *METRICS_OF.values())
# Receivers on this machine are what a stack on it is tried with; the operator's own setting takes its place.
_ALLOWED_NETWORKS = "127.0.0.0/8,::1/128"

# Who computes, and Flower, have a third of the share (`sched(7)`) of who answers callers and steers.
_NICENESS = 5
_ANSWER_LIMIT_S = 1.0
_GRACE_MARGIN_S = 4.0
_PROJECT_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Surroundings:
    """What the platform's processes are made from."""

    folder: StateFolder
    settings: Settings
    environment: Mapping[str, str]
    ports: Mapping[str, int]
    credentials: Credentials

    @property
    def url(self) -> str:
        """Where the gateway is reached from this machine."""
        host = self.settings.gateway_host
        return f"http://{LOOPBACK if host in {'0.0.0.0', '::'} else host}:{self.ports[GATEWAY]}"  # noqa: S104

    @property
    def flower_url(self) -> str:
        """Where Flower is reached from this machine."""
        return f"http://{LOOPBACK}:{self.ports[FLOWER]}"

    def joining_settings(self) -> dict[str, str]:
        """Return the `CTCLIP_*` settings by which another process joins this stack, secrets among them."""
        known = [f"CTCLIP_{name}".upper() for name in Settings.model_fields]
        given = {**self.environment, "CTCLIP_GATEWAY_PORT": str(self.ports[GATEWAY])}
        return {name: given[name] for name in known if name in given}


@dataclass(frozen=True)
class Platform:
    """What runs on top of the servers: first the migration, to its end, then the programs."""

    migration: tuple[str, ...]
    make_programs: Callable[[Surroundings], list[Program]]


def product_platform() -> Platform:
    """Return the product itself."""
    return Platform(migration=(sys.executable, "-m", "migrations"), make_programs=_make_programs)


def base_environment(inherited: Mapping[str, str], settings: Mapping[str, str], folder: StateFolder) -> dict[str, str]:
    """Return the environment of our processes: the launcher's own, the way to the servers, a cache in the folder."""
    paths = [str(_PROJECT_ROOT), *filter(None, inherited.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        "CTCLIP_CACHE_DIR": str(folder.cache),
        "CTCLIP_WEBHOOK_ALLOWED_NETWORKS": _ALLOWED_NETWORKS,
        **inherited,
        **settings,
        "PYTHONPATH": os.pathsep.join(paths),
        # Nothing is imported from the folder in which somebody happens to type `ctclip up`.
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }


def process_environment(surroundings: Surroundings, name: str, *, threads: int = 1) -> dict[str, str]:
    """Return the environment of one process: its ready file, its port for metrics, and threads for its libraries.

    A key is for those alone who work with it.
    """
    own_port = {"CTCLIP_METRICS_PORT": str(surroundings.ports[METRICS_OF[name]])} if name in METRICS_OF else {}
    hidden = {key for key, holders in _KEY_HOLDERS.items() if name not in holders}
    return {
        **{setting: value for setting, value in surroundings.environment.items() if setting not in hidden},
        **own_port,
        "CTCLIP_READY_FILE": str(surroundings.folder.ready_file(name)),
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
    }


def count_model_threads(settings: Settings) -> int:
    """Return how many threads the models may use: the setting, else all cores of this process."""
    return settings.threads or len(os.sched_getaffinity(0))


def answers(url: str, path: str) -> bool:
    """Say whether a GET is answered with 200 within a second."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or LOOPBACK, address.port, timeout=_ANSWER_LIMIT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _make_programs(surroundings: Surroundings) -> list[Program]:
    return [
        *(_worker(surroundings, name, stages) for name, stages in WORKERS.items()),
        _gateway(surroundings),
        _control(surroundings),
        _delivery(surroundings),
        _flower(surroundings),
    ]


def _gateway(surroundings: Surroundings) -> Program:
    ready_file = surroundings.folder.ready_file(GATEWAY)
    url = surroundings.url
    return Program(
        name=GATEWAY,
        command=(sys.executable, "-m", "gateway"),
        environment={
            **process_environment(surroundings, GATEWAY),
            "CTCLIP_GATEWAY_PORT": str(surroundings.ports[GATEWAY]),
        },
        is_ready=lambda: ready_file.exists() and answers(url, "/readyz"),
        stop_turn=StopTurn.GATEWAY,
        stop_grace_s=surroundings.settings.gateway_shutdown_grace.total_seconds() + _GRACE_MARGIN_S,
    )


def _worker(surroundings: Surroundings, name: str, stages: str) -> Program:
    threads = count_model_threads(surroundings.settings) if name == "worker-models" else 1
    return Program(
        name=name,
        command=(sys.executable, "-m", "workers", "--name", name, "--stages", stages),
        environment=process_environment(surroundings, name, threads=threads),
        is_ready=surroundings.folder.ready_file(name).exists,
        stop_turn=StopTurn.WORKERS,
        stop_grace_s=surroundings.settings.shutdown_grace.total_seconds() + _GRACE_MARGIN_S,
        niceness=_NICENESS,
    )


def _control(surroundings: Surroundings) -> Program:
    return Program(
        name=_CONTROL,
        command=(sys.executable, "-m", "workers.control"),
        environment=process_environment(surroundings, _CONTROL),
        is_ready=surroundings.folder.ready_file(_CONTROL).exists,
        stop_turn=StopTurn.CONTROL,
    )


def _delivery(surroundings: Surroundings) -> Program:
    return Program(
        name=_DELIVERY,
        command=(sys.executable, "-m", "workers.delivery"),
        environment=process_environment(surroundings, _DELIVERY),
        is_ready=surroundings.folder.ready_file(_DELIVERY).exists,
        stop_turn=StopTurn.WORKERS,
        stop_grace_s=surroundings.settings.shutdown_grace.total_seconds() + _GRACE_MARGIN_S,
    )


def _flower(surroundings: Surroundings) -> Program:
    credentials, port, url = surroundings.credentials, surroundings.ports[FLOWER], surroundings.flower_url
    return Program(
        name=FLOWER,
        command=(
            *(sys.executable, "-m", "celery", "--app=deploy.embedded.flower_app:app"),
            *("flower", f"--address={LOOPBACK}", f"--port={port}"),
        ),
        environment={
            **process_environment(surroundings, FLOWER),
            # Not in the command line, which everybody can read.
            "FLOWER_BASIC_AUTH": f"{credentials.flower_user}:{credentials.flower_password}",
        },
        is_ready=lambda: answers(url, "/healthcheck"),
        stop_turn=StopTurn.CONTROL,
        niceness=_NICENESS,
    )
