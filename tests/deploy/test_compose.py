"""docker-compose.yml: what it gives to whom, and a study through its own commands with either broker."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest
from sqlalchemy.engine import make_url

from deploy.embedded.ports import assign_ports
from deploy.embedded.servers import ServerSet
from shared.byte_units import GIB
from shared.settings import Settings
from shared.stages import STAGES, StageName
from tests.deploy.compose import (
    OURS,
    Places,
    ServiceProcess,
    prepare,
    read_all_services,
    read_services,
    running_services,
)
from tests.rabbitmq import RabbitMq
from tests.stack.running import wait_until

METRICS_PORT, GATEWAY_PORT, FLOWER_PORT = "9100", "8000", "5555"
JOB_LIMIT_S = 240.0
MODELS = "ct_clip,mednext"
"""Every model's process must get ready; these answer, since the others take longer than a test should."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    prepare(folder)
    return folder


@pytest.fixture(scope="module")
def services(prepared: Path) -> dict[str, Any]:
    """The services of every profile."""
    return read_all_services(prepared)


def list_secrets(service: dict[str, Any]) -> set[str]:
    return {secret["source"] for secret in service.get("secrets", ())}


def list_stages(service: dict[str, Any]) -> list[str]:
    command = service.get("command") or []
    return command[command.index("--stages") + 1].split(",") if "--stages" in command else []


def run_statement(settings: Settings, statement: str) -> None:
    address = make_url(settings.database_url.get_secret_value()).set(drivername="postgresql")
    connection = psycopg2.connect(address.render_as_string(hide_password=False))
    connection.autocommit = True
    connection.cursor().execute(statement)
    connection.close()


class TestWhoIsGivenWhat:
    def test_pseudonyms_are_made_by_intake_alone(self, services: dict[str, Any]) -> None:
        holders = {name for name, service in services.items() if "ctclip_pseudonym_key" in list_secrets(service)}
        assert holders == {name for name, service in services.items() if "intake" in list_stages(service)} != set()

    def test_receipts_are_signed_by_fusion_and_shown_by_the_gateway(self, services: dict[str, Any]) -> None:
        holders = {name for name, service in services.items() if "ctclip_receipt_key" in list_secrets(service)}
        assert holders == {"gateway", "worker-fusion"}

    def test_no_secret_stands_in_an_environment(self, prepared: Path, services: dict[str, Any]) -> None:
        told = " ".join(str(service.get("environment")) + str(service.get("command")) for service in services.values())
        kept = [path.read_text().strip() for path in (prepared / "secrets").iterdir()]
        assert not [secret for secret in kept if secret and secret in told]

    def test_secrets_are_open_to_containers_and_closed_to_others_of_the_machine(self, prepared: Path) -> None:
        assert (prepared / "secrets").stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o444 for path in (prepared / "secrets").iterdir()} == {0o444}

    def test_only_gateway_delivery_and_screens_have_a_way_out(self, services: dict[str, Any]) -> None:
        outside = {name for name, service in services.items() if set(service["networks"]) != {"inside"}}
        assert outside == {"gateway", "worker-delivery", "flower", "grafana"}

    def test_every_service_is_confined(self, services: dict[str, Any]) -> None:
        for name, service in services.items():
            assert service["read_only"], name
            assert service["cap_drop"] == ["ALL"], name
            assert service["security_opt"] == ["no-new-privileges:true"], name
            assert service["restart"] == ("no" if name == "migrate" else "unless-stopped"), name
            assert service["mem_limit"], name


class TestTheMachineItNeeds:
    @pytest.mark.parametrize("device", ["gpu", "cpu"])
    def test_has_32_gb(self, tmp_path: Path, device: str) -> None:
        prepare(tmp_path, "valkey", device)
        limits = [int(service["mem_limit"]) for service in read_services(tmp_path).values()]
        assert sum(limits) < 32 * GIB

    def test_has_a_worker_for_every_queue_with_and_without_a_gpu(self, tmp_path: Path) -> None:
        for device in ("gpu", "cpu"):
            prepare(tmp_path / device, "valkey", device)
            stages = [stage for service in read_services(tmp_path / device).values() for stage in list_stages(service)]
            assert sorted(stages) == sorted(STAGES.keys() - {StageName.DELIVERY}), device

    def test_reserves_the_gpu_for_every_model(self, services: dict[str, Any]) -> None:
        for name, service in services.items():
            devices = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
            assert bool(devices) == ("gpu" in service.get("profiles", ())), name


@pytest.fixture
def database(settings: Settings) -> Iterator[str]:
    """Address of an empty database of its own."""
    name = f"compose_{uuid.uuid4().hex}"
    run_statement(settings, f"CREATE DATABASE {name}")
    yield make_url(settings.database_url.get_secret_value()).set(database=name).render_as_string(hide_password=False)
    run_statement(settings, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["valkey", "rabbitmq"])
def running(
    request: pytest.FixtureRequest, servers: ServerSet, database: str, tmp_path: Path
) -> Iterator[tuple[dict[str, ServiceProcess], Places]]:
    """The services of the file: with Valkey one process for each model, with RabbitMQ one for all of them."""
    is_rabbit = request.param == "rabbitmq"
    broker: RabbitMq | None = request.getfixturevalue("rabbitmq") if is_rabbit else None
    prepare(tmp_path, request.param, "cpu" if is_rabbit else "gpu")
    environment = servers.environment
    given = {
        "ctclip_database_url": database,
        "ctclip_broker_url": broker.url if broker else environment["CTCLIP_BROKER_URL"],
        "ctclip_storage_access_key": environment["CTCLIP_STORAGE_ACCESS_KEY"],
        "ctclip_storage_secret_key": environment["CTCLIP_STORAGE_SECRET_KEY"],
    }
    for name, value in given.items():
        path = tmp_path / "secrets" / name
        path.unlink()
        path.write_text(value)
    services = read_services(tmp_path)
    ours = [name for name, service in services.items() if service["image"].startswith(OURS)]
    wanted = [*((name, METRICS_PORT) for name in ours), ("gateway", GATEWAY_PORT), ("flower", FLOWER_PORT)]
    found = assign_ports([f"{name} {port}" for name, port in wanted], {})
    places = Places(
        tmp_path,
        {"storage:9000": environment["CTCLIP_STORAGE_ENDPOINT"]},
        {(name, port): found[f"{name} {port}"] for name, port in wanted},
    )
    with running_services(services, places) as processes:
        yield processes, places


class TestTheServicesOfTheFile:
    @pytest.mark.timeout(600)
    def test_take_a_study_through(self, running: tuple[dict[str, ServiceProcess], Places], phantom_zip: Path) -> None:
        processes, places = running
        key = self._make_key(processes["control"])
        url = f"http://127.0.0.1:{places.ports['gateway', GATEWAY_PORT]}"
        with httpx.Client(base_url=url, timeout=60, headers={"Authorization": f"Bearer {key}"}) as gateway:
            assert gateway.post("/v1/jobs", headers={"Authorization": "Bearer none"}).status_code == 401
            with phantom_zip.open("rb") as body:
                answer = gateway.post("/v1/jobs", params={"models": MODELS}, files={"file": ("study.zip", body)})
            assert answer.status_code == 202, answer.text
            job = f"/v1/jobs/{answer.json()['id']}"
            wait_until(lambda: gateway.get(job).json()["finished_at"], "the job ends", JOB_LIMIT_S)
            assert gateway.get(job).json()["state"] in {"completed", "completed_partial"}
            assert 0 <= gateway.get(f"{job}/result").json()["decision"]["probability"] <= 1
        self._look_at_flower(places)

    def _make_key(self, control: ServiceProcess) -> str:
        """Make a key as the guide says: by the command, where control runs."""
        return control.run("ctclip", "keys", "create", "first").strip()

    def _look_at_flower(self, places: Places) -> None:
        url = f"http://127.0.0.1:{places.ports['flower', FLOWER_PORT]}/"
        user, password = (places.folder / "secrets" / "flower_basic_auth").read_text().strip().split(":")
        assert httpx.get(url).status_code == 401
        told = httpx.get(url, auth=(user, password)).text
        assert re.search("worker-fusion@", told)
