"""`python -m tests.deploy.through_compose valkey gpu`: run all of docker-compose.yml here, and a study with it.

PostgreSQL, broker and storage are the embedded ones, or RabbitMQ of the Debian package, in the place of their images.
All else is as the file says: commands, environments, secrets, health checks, and a root that nobody can write to.
"""

from __future__ import annotations

import sys
import tempfile
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg2
from sqlalchemy.engine import make_url

from deploy.embedded.ports import assign_ports
from deploy.embedded.servers import start_servers
from phantom.dicom import write_zip
from phantom.study import PhantomSettings, make_study
from tests.deploy.compose import OURS, Places, ServiceProcess, prepare, read_services, running_services
from tests.rabbitmq import HOW_TO_GET_IT, SERVER, RabbitMq, running_rabbitmq
from tests.stack.running import wait_until

METRICS_PORT, GATEWAY_PORT, FLOWER_PORT = "9100", "8000", "5555"

_ROOT = Path(__file__).parents[2]
_JOB_LIMIT_S = 600.0


@dataclass(frozen=True)
class Platform:
    """The running services."""

    processes: Mapping[str, ServiceProcess]
    places: Places

    def take_through(self, study: Path, *, models: str | None = None) -> str:
        """Send a study with a key made by the command, wait for its end, and return the state of its job."""
        key = self.processes["control"].run("ctclip", "keys", "create", "first").strip()
        url = f"http://127.0.0.1:{self.places.ports['gateway', GATEWAY_PORT]}"
        params = {} if models is None else {"models": models}
        with httpx.Client(base_url=url, timeout=60, headers={"Authorization": f"Bearer {key}"}) as gateway:
            assert httpx.post(f"{url}/v1/jobs").status_code == 401
            with study.open("rb") as body:
                answer = gateway.post("/v1/jobs", params=params, files={"file": ("study.zip", body)})
            assert answer.status_code == 202, answer.text
            job = f"/v1/jobs/{answer.json()['id']}"
            wait_until(lambda: gateway.get(job).json()["finished_at"], "the job ends", _JOB_LIMIT_S)
            state = str(gateway.get(job).json()["state"])
            assert state in {"completed", "completed_partial"}, gateway.get(job).text
            assert gateway.get(f"{job}/result").status_code == 200
        return state

    def look_at_flower(self) -> None:
        """See that Flower lets nobody in without its password, and shows the workers with it."""
        url = f"http://127.0.0.1:{self.places.ports['flower', FLOWER_PORT]}"
        user, password = (self.places.folder / "secrets" / "flower_basic_auth").read_text().strip().split(":")
        assert httpx.get(f"{url}/").status_code == 401
        wait_until(
            lambda: "worker-fusion@" in httpx.get(f"{url}/", auth=(user, password)).text, "Flower shows the workers"
        )


@contextmanager
def running_file(
    folder: Path,
    servers: Mapping[str, str],
    rabbitmq: RabbitMq | None,
    device: str,
    *,
    left_out: Collection[str] = (),
) -> Iterator[Platform]:
    """Run the services of the file on given servers: with RabbitMQ, or with the servers' own Valkey."""
    prepare(folder, "rabbitmq" if rabbitmq else "valkey", device)
    with _own_database(servers["CTCLIP_DATABASE_URL"]) as database:
        _lead_to(folder, servers, database, rabbitmq.url if rabbitmq else servers["CTCLIP_BROKER_URL"])
        services = {name: service for name, service in read_services(folder).items() if name not in left_out}
        places = _choose_places(folder, services, servers["CTCLIP_STORAGE_ENDPOINT"])
        with running_services(services, places) as processes:
            yield Platform(processes, places)


def _lead_to(folder: Path, servers: Mapping[str, str], database: str, broker: str) -> None:
    """Put the addresses and keys of the servers that run here into the secrets."""
    given = {
        "ctclip_database_url": database,
        "ctclip_broker_url": broker,
        "ctclip_storage_access_key": servers["CTCLIP_STORAGE_ACCESS_KEY"],
        "ctclip_storage_secret_key": servers["CTCLIP_STORAGE_SECRET_KEY"],
    }
    for name, value in given.items():
        (folder / "secrets" / name).unlink()
        (folder / "secrets" / name).write_text(value)


def _choose_places(folder: Path, services: Mapping[str, Mapping[str, str]], storage: str) -> Places:
    ours = [name for name, service in services.items() if service["image"].startswith(OURS)]
    wanted = [*((name, METRICS_PORT) for name in ours), ("gateway", GATEWAY_PORT), ("flower", FLOWER_PORT)]
    found = assign_ports([" ".join(one) for one in wanted], {})
    return Places(folder, {"storage:9000": storage}, {one: found[" ".join(one)] for one in wanted})


@contextmanager
def _own_database(url: str) -> Iterator[str]:
    name = f"compose_{uuid.uuid4().hex}"
    _execute(url, f"CREATE DATABASE {name}")
    try:
        yield make_url(url).set(database=name).render_as_string(hide_password=False)
    finally:
        _execute(url, f"DROP DATABASE {name} WITH (FORCE)")


def _execute(url: str, statement: str) -> None:
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = psycopg2.connect(address)
    connection.autocommit = True
    connection.cursor().execute(statement)
    connection.close()


def main() -> None:
    """Run one broker with one kind of device, and say what came of it."""
    broker, device = sys.argv[1:]
    if broker == "rabbitmq" and not SERVER.exists():
        sys.exit(HOW_TO_GET_IT)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rabbitmq").mkdir()
        study = folder / "study.zip"
        write_zip(make_study(7, ("pleural_effusion",), PhantomSettings.coarse()), study)
        given = (_ROOT / "deploy" / "docker" / "rabbitmq.conf",)
        rabbit = running_rabbitmq(folder / "rabbitmq", given) if broker == "rabbitmq" else nullcontext()
        began_at = time.monotonic()
        with (
            start_servers(folder / "servers") as servers,
            rabbit as rabbitmq,
            running_file(folder / "compose", servers.environment, rabbitmq, device) as platform,
        ):
            ready_s = time.monotonic() - began_at
            state = platform.take_through(study)
            platform.look_at_flower()
            told = f"{len(platform.processes)} services of docker-compose.yml with {broker} ({device}): ready in"
            sys.stdout.write(f"{told} {ready_s:.0f} s; the study {state} after {time.monotonic() - began_at:.0f} s\n")


if __name__ == "__main__":
    main()
