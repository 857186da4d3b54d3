"""Every example of README and of the pages about a running platform, run as it stands, in its order."""

from __future__ import annotations

import gzip
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from phantom.corpus.packings import write_nifti
from phantom.study import PhantomSettings, make_study
from tests.gateway.receiver import running_receiver
from tests.pages import ANY_STATUS, ROOT, Shell, Walk, list_commands, read_blocks
from tests.stack.running import RunningStack

pytestmark = pytest.mark.stack

DOCS = ROOT / "docs"
JOB = re.compile(r"/v1/jobs/([0-9a-f-]{36})/result")


@pytest.fixture
def shell(stack: RunningStack, tmp_path: Path) -> Shell:
    """A shell on the machine of the running platform."""
    return Shell(tmp_path, {"CTCLIP_STATE": str(stack.state), "URL": stack.url})


class TestReadme:
    @pytest.mark.timeout(1800)  # all of the page, in one test
    def test_does_what_it_shows(self, stack: RunningStack, shell: Shell, phantom_zip: Path) -> None:
        (shell.folder / ".venv").symlink_to(sys.prefix)
        (shell.folder / "deploy").symlink_to(ROOT / "deploy")
        self._bring_studies(shell.folder, phantom_zip)
        Walk(
            ROOT / "README.md",
            shell,
            left_out={"make demo": "installs and tests everything: tests/deploy runs the demo"},
            words={"PORT": stack.url.rpartition(":")[2], "FOLDER": "folder", "TREE": "tree"},
            before=self._wait_for_result(stack),
        ).go()
        assert (shell.folder / "results.xlsx").stat().st_size
        assert (shell.folder / "real.png").stat().st_size
        assert len(list((shell.folder / "folder").glob("*.zip"))) == 2

    def test_tells_the_same_in_both_languages(self) -> None:
        assert list_commands(ROOT / "README.ru.md") == list_commands(ROOT / "README.md") != []

    def _bring_studies(self, folder: Path, phantom_zip: Path) -> None:
        """What the reader has: a folder with the study that was made first, a tree of DICOM files, a NIfTI file."""
        (folder / "folder").mkdir()
        (folder / "folder" / "one.zip").symlink_to(folder / "study.zip")
        zipfile.ZipFile(phantom_zip).extractall(folder / "tree")
        scan = write_nifti(make_study(11, (), PhantomSettings.coarse()))
        (folder / "scan.nii.gz").write_bytes(gzip.compress(scan, 1))

    def _wait_for_result(self, stack: RunningStack) -> Callable[[str], None]:
        def wait(statement: str) -> None:
            if found := JOB.search(statement):
                assert stack.wait_for_end(found.group(1))["links"]["result"]

        return wait


class TestAccess:
    def test_keys_and_log_are_handled_as_shown(self, stack: RunningStack, shell: Shell, phantom_zip: Path) -> None:
        (shell.folder / "study.zip").symlink_to(phantom_zip)
        shell.run(f"CTCLIP_API_URL={stack.url} CTCLIP_API_KEY=any")
        left_out = {
            "CTCLIP_AUTHENTICATION=required ctclip up --detach": "another platform: tests/gateway/access asks for keys"
        }
        Walk(DOCS / "access.md", shell, left_out).go()


class TestReproducing:
    def test_a_job_is_run_again_and_its_receipt_verified(
        self, stack: RunningStack, shell: Shell, phantom_zip: Path
    ) -> None:
        job = stack.wait_for_end(stack.submit(phantom_zip, models="mednext"))
        shell.run(f"JOB={job['id']}")
        Walk(DOCS / "reproducing.md", shell).go()


class TestWebhooks:
    def test_a_webhook_is_made_and_events_are_streamed(
        self, stack: RunningStack, shell: Shell, phantom_zip: Path
    ) -> None:
        shell.run(f"JOB={stack.submit(phantom_zip, models='mednext')}")
        left_out = {"import os": "a server without end: tests/workers/delivery/test_documents.py runs it"}
        with running_receiver() as receiver:
            words = {"https://pacs.example.org/hooks/ctclip": receiver.url}
            Walk(DOCS / "webhooks.md", shell, left_out, words).go()
            (made,) = [one for one in stack.list_webhooks() if one["url"] == receiver.url]
            stack.http.delete(f"/v1/webhooks/{made['id']}").raise_for_status()


class TestEvaluation:
    def test_self_check_and_drift_are_told(self, shell: Shell) -> None:
        (evaluate,) = [block.name for block in read_blocks(DOCS / "evaluation.md") if "ctclip evaluate" in block.name]
        (shell.folder / ".venv").symlink_to(sys.prefix)
        Walk(
            DOCS / "evaluation.md",
            shell,
            left_out={evaluate: "asks every model about 300 studies: tests/training/test_evaluation.py takes fewer"},
            # None may have run yet, and the phantoms of other tests are no sample of anything.
            statuses={".venv/bin/ctclip self-check": ANY_STATUS, ".venv/bin/ctclip drift --days 30": ANY_STATUS},
        ).go()
