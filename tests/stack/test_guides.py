"""The guides, followed beside the running platform from their first command to their last."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest

from tests.deploy.compose import COMPOSE, read_all_services
from tests.gateway.receiver import Receiver, running_receiver
from tests.pages import ANY_STATUS, ROOT, Shell, Walk, read_blocks
from tests.stack.running import RunningStack, wait_until

pytestmark = pytest.mark.stack

DOCS = ROOT / "docs"
NO_ENGINE = "needs an engine of containers"
NO_CLUSTER = "needs a cluster"
INSTALL = "helm upgrade --install ct deploy/helm/ctclip --namespace imaging --values own-values.yaml"
DOCKER = f"""#!/bin/sh
[ "$1" = compose ] && shift || exit 99
case " $* " in *" config "*) exec {COMPOSE} "$@" ;; esac
exit 99
"""
# What other tests left in the platform is no fault of the guide.
TOLD = dict.fromkeys(("ctclip doctor", "ctclip self-check", "ctclip drift --days 30", "ctclip reconcile"), ANY_STATUS)


class TestUserGuide:
    def test_leads_from_the_first_study_to_its_erasure(self, stack: RunningStack, tmp_path: Path) -> None:
        shell = Shell(tmp_path, {"CTCLIP_STATE": str(stack.state)})
        with running_receiver() as receiver:
            words = {"PORT": stack.url.rpartition(":")[2], "https://pacs.example.org/hooks/ctclip": receiver.url}
            told = Walk(
                DOCS / "USER_GUIDE.md", shell, words=words, before=self._wait_for_messages(stack, receiver)
            ).go()
        assert "mednext: answers" in told
        assert "no_dicom_images: " in told
        assert "webhook.ping delivered" in told
        assert "job.completed_partial delivered" in told or "job.completed delivered" in told
        assert openpyxl.load_workbook(tmp_path / "results.xlsx")["studies"].max_row == 3
        assert (tmp_path / "report_pdf_en.pdf").read_bytes().startswith(b"%PDF")

    def _wait_for_messages(self, stack: RunningStack, receiver: Receiver) -> Callable[[str], None]:
        def wait(statement: str) -> None:
            if "/deliveries" in statement:
                wait_until(lambda: self._count_delivered(stack, receiver) >= 2, "both messages are delivered")

        return wait

    def _count_delivered(self, stack: RunningStack, receiver: Receiver) -> int:
        (made,) = [one for one in stack.list_webhooks() if one["url"] == receiver.url]
        listed = stack.http.get(f"/v1/webhooks/{made['id']}/deliveries").json()["items"]
        return [each["state"] for each in listed].count("delivered")


class TestDeploymentGuide:
    def test_does_what_needs_no_engine(self, stack: RunningStack, tmp_path: Path, phantom_zip: Path) -> None:
        self._lay_files(tmp_path)
        (tmp_path / "study.zip").symlink_to(phantom_zip)
        page = DOCS / "DEPLOYMENT_GUIDE.md"
        self._write_machine_file(page, tmp_path)
        left_out = {
            "make setup": "installs and starts another platform: tests/deploy starts one",
            "docker compose up --detach --build --wait": NO_ENGINE,
            "x-alone: &alone": "written to its file above; Compose reads it in the block behind it",
            "docker compose run --rm migrate": NO_ENGINE,
            "images: {registry: registry.example.org}": "tests/deploy/test_guides.py renders the chart with it",
            "kubectl create namespace imaging": NO_CLUSTER,
            "mkdir -p carried": "downloads some gigabytes",
            "docker compose --profile '*' build": NO_ENGINE,
            "PIP_NO_INDEX=1 PIP_FIND_LINKS=$PWD/carried/wheels make setup": "needs what a block before downloads",
            "docker load -i carried/images.tar": NO_ENGINE,
            "install -d -o 10001 -m 0700 /backups": NO_ENGINE,
            "docker compose up --detach --wait postgres storage": NO_ENGINE,
            "kubectl -n imaging get deployment ct-control -o json \\": "tests/deploy/test_guides.py makes the jobs",
            f"{INSTALL} --set control.replicas=0 --timeout 30m": NO_CLUSTER,
        }
        told = Walk(page, self._make_shell(stack, tmp_path), left_out, statuses=TOLD).go()
        assert "worker-mednext 2560 MiB" in told
        assert (tmp_path / "monday" / "manifest.json").exists()
        self._look_at_what_was_carried(tmp_path)

    def _look_at_what_was_carried(self, folder: Path) -> None:
        inside = folder / "ctclip"
        images = {service["image"] for service in read_all_services(folder).values()}
        assert set((inside / "carried" / "images.txt").read_text().split()) == images
        assert (inside / "docker-compose.yml").exists()
        assert (inside / ".env.example").exists()
        assert not (inside / "secrets").exists()
        assert not (inside / ".env").exists()

    def _lay_files(self, folder: Path) -> None:
        shutil.copytree(ROOT / "deploy" / "docker", folder / "deploy" / "docker")
        for name in ("docker-compose.yml", ".env.example"):
            shutil.copy(ROOT / name, folder / name)

    def _write_machine_file(self, page: Path, folder: Path) -> None:
        (block,) = [block for block in read_blocks(page) if block.name.startswith("x-alone")]
        (folder / "compose.machine.yaml").write_text(block.text)

    def _make_shell(self, stack: RunningStack, folder: Path) -> Shell:
        """A shell in which `docker compose` is Compose itself, which can read files but start nothing."""
        docker = folder / "bin" / "docker"
        docker.parent.mkdir()
        docker.write_text(DOCKER)
        docker.chmod(0o755)
        path = os.pathsep.join([str(docker.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
        return Shell(folder, {"CTCLIP_STATE": str(stack.state), "PATH": path})


class TestOperations:
    def test_asks_what_is_to_be_asked_every_day(self, stack: RunningStack, tmp_path: Path) -> None:
        left_out = {"ctclip up --detach": "another platform: test_monitoring.py lets Prometheus read this one"}
        Walk(DOCS / "OPERATIONS.md", Shell(tmp_path, {"CTCLIP_STATE": str(stack.state)}), left_out, statuses=TOLD).go()
