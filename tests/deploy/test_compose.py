"""docker-compose.yml: what it gives to whom, and a study through its own commands with either broker."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import workers.ct_clip.memory
import workers.fvlm.memory
import workers.mednext.memory
from deploy.embedded.servers import ServerSet
from shared.byte_units import GIB
from shared.settings import Settings
from shared.stages import STAGES, StageName
from tests.deploy.compose import COMPOSE, ROOT, prepare, read_all_services, read_services
from tests.deploy.through_compose import running_file
from tests.pages import read_blocks
from tests.rabbitmq import RabbitMq
from workers.ct_clip.configuration import ImageShape as CtClipImage
from workers.ct_clip.configuration import Preprocessing as CtClipPreprocessing
from workers.fvlm.configuration import ImageShape as FvlmImage
from workers.fvlm.configuration import Preprocessing as FvlmPreprocessing
from workers.mednext.configuration import Architecture as MednextArchitecture
from workers.mednext.configuration import Preprocessing as MednextPreprocessing

DEPLOY = ROOT / "docs" / "deploy.md"
OTHER_MODELS = {f"worker-{name}" for name in ("ct-clip", "supervised", "diffusion", "segmentation", "fvlm")}
"""Processes that differ from worker-mednext by a name, and take half a minute each to get ready."""


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


READERS = ("gateway", "control", "worker-")
"""Beginnings of the names of processes that read settings of their own."""


class TestSettings:
    def test_that_the_file_does_not_name_reach_every_process_that_reads_any(self, tmp_path: Path) -> None:
        prepare(tmp_path)
        (tmp_path / "settings.env").write_text("CTCLIP_UPLOAD_RETENTION=PT72H\nCTCLIP_METRICS_PORT=1\n")
        services = read_all_services(tmp_path)
        told = {name: one.get("environment") or {} for name, one in services.items()}
        reached = {name for name, settings in told.items() if settings.get("CTCLIP_UPLOAD_RETENTION") == "PT72H"}
        assert reached == {name for name in services if name.startswith(READERS)}
        assert {told[name]["CTCLIP_METRICS_PORT"] for name in reached} == {"9100"}

    def test_of_internal_networks_are_the_same_for_whom_takes_addresses_and_who_calls_them(
        self, tmp_path: Path
    ) -> None:
        prepare(tmp_path)
        with (tmp_path / ".env").open("a") as environment:
            environment.write("CTCLIP_WEBHOOK_ALLOWED_NETWORKS=10.1.0.0/16\n")
        told = {name: one.get("environment") or {} for name, one in read_services(tmp_path).items()}
        holders = {name for name, settings in told.items() if "CTCLIP_WEBHOOK_ALLOWED_NETWORKS" in settings}
        assert holders == {"gateway", "worker-delivery"}
        assert {told[name]["CTCLIP_WEBHOOK_ALLOWED_NETWORKS"] for name in holders} == {"10.1.0.0/16"}

    def test_leave_a_stopping_gateway_its_grace(self, services: dict[str, Any]) -> None:
        grace: timedelta = Settings.model_fields["gateway_shutdown_grace"].default
        assert services["gateway"]["stop_grace_period"] == "30s"
        assert timedelta(seconds=30) > grace


class TestServersOfYourOwn:
    @pytest.mark.parametrize("server", ["postgres", "storage"])
    def test_take_the_place_of_one_that_is_left_out(self, tmp_path: Path, server: str) -> None:
        prepare(tmp_path)
        (tmp_path / "docker-compose.override.yml").write_text(f"services: {{{server}: {{profiles: [unused]}}}}")
        done = subprocess.run([str(COMPOSE), "config", "--quiet"], cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert server not in read_services(tmp_path)


def predict_host_memory(shape_zyx: tuple[int, int, int]) -> dict[str, int]:
    """Return what workers of published models are predicted to take of the host, beside the process itself."""
    gpu = torch.device("cuda")
    mednext, preparing = MednextArchitecture(num_classes=1), MednextPreprocessing()
    amounts = {
        "worker-ct-clip": workers.ct_clip.memory.predict_memory(CtClipImage(), CtClipPreprocessing(), gpu, shape_zyx),
        "worker-fvlm": workers.fvlm.memory.predict_memory(FvlmImage(), FvlmPreprocessing(), gpu, shape_zyx),
        "worker-mednext": workers.mednext.memory.predict_memory(mednext, preparing, shape_zyx, gpu, is_streamed=True),
    }
    return {name: amount.host_bytes for name, amount in amounts.items()}


class TestTraces:
    def test_reach_the_collector_of_the_docs_from_every_process_that_sends_them(self, tmp_path: Path) -> None:
        prepare(tmp_path)
        block, told = [block.text for block in read_blocks(DEPLOY) if "collector" in block.text]
        (tmp_path / "compose.traces.yaml").write_text(block)
        settings = [line.split("'")[1] for line in told.splitlines() if line.startswith("echo")]
        with (tmp_path / ".env").open("a") as environment:
            environment.write("\n".join(settings) + "\n")
        services = read_services(tmp_path)
        assert {"inside", "outward"} == set(services["collector"]["networks"])
        senders = {
            name: one for name, one in services.items() if "CTCLIP_TRACES_ENDPOINT" in one.get("environment", {})
        }
        assert senders.keys() == {name for name in services if name.startswith(READERS)}
        for name, sender in senders.items():
            assert sender["environment"]["CTCLIP_TRACES_ENDPOINT"] == "http://collector:4318", name
            assert "inside" in sender["networks"], name

    def test_are_taken_by_the_collector_on_the_port_that_they_are_sent_to(self) -> None:
        (block,) = [block for block in read_blocks(DEPLOY) if block.language == "yaml" and "collector" in block.text]
        collector = yaml.safe_load(yaml.safe_load(block.text)["configs"]["collector"]["content"])
        assert collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"] == "0.0.0.0:4318"
        (pipeline,) = collector["service"]["pipelines"].values()
        for kind in ("receivers", "processors", "exporters"):
            assert pipeline[kind] == list(collector[kind]), kind


class TestTheMachineItNeeds:
    @pytest.mark.parametrize("device", ["gpu", "cpu"])
    def test_has_32_gb_of_which_some_are_left_to_the_system(self, tmp_path: Path, device: str) -> None:
        prepare(tmp_path, "valkey", device)
        limits = [int(service["mem_limit"]) for service in read_services(tmp_path).values()]
        assert sum(limits) <= 28 * GIB < 32e9

    def test_lets_gpu_workers_lay_out_a_thousand_slices(self, services: dict[str, Any]) -> None:
        for name, taken in predict_host_memory((1000, 512, 512)).items():
            assert GIB + taken <= int(services[name]["mem_limit"]), name

    def test_has_a_worker_for_every_queue_with_and_without_a_gpu(self, tmp_path: Path) -> None:
        for device in ("gpu", "cpu"):
            prepare(tmp_path / device, "valkey", device)
            stages = [stage for service in read_services(tmp_path / device).values() for stage in list_stages(service)]
            assert sorted(stages) == sorted(STAGES.keys() - {StageName.DELIVERY}), device

    def test_reserves_the_gpu_for_every_model(self, services: dict[str, Any]) -> None:
        for name, service in services.items():
            devices = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
            assert bool(devices) == ("gpu" in service.get("profiles", ())), name


@pytest.fixture(scope="module")
def server_settings(servers: ServerSet) -> Mapping[str, str]:
    return servers.environment


class TestTheServicesOfTheFile:
    """`python -m tests.deploy.through_compose` does the same with every service of either profile."""

    @pytest.mark.timeout(900)
    def test_take_a_study_through_with_valkey(
        self, server_settings: Mapping[str, str], tmp_path: Path, phantom_zip: Path
    ) -> None:
        with running_file(tmp_path, server_settings, None, "gpu", left_out=OTHER_MODELS) as platform:
            platform.take_through(phantom_zip, models="mednext")
            platform.look_at_flower()

    @pytest.mark.timeout(900)
    def test_take_a_study_through_with_rabbitmq(
        self, server_settings: Mapping[str, str], rabbitmq: RabbitMq, tmp_path: Path, phantom_zip: Path
    ) -> None:
        with running_file(tmp_path, server_settings, rabbitmq, "gpu", left_out=OTHER_MODELS) as platform:
            platform.take_through(phantom_zip, models="mednext")
            platform.look_at_flower()
