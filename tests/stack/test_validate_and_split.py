"""Validations and splits through the whole platform: what callers see, and that nothing is left over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.packing import pack, unpack
from tests.stack.running import RunningStack, find_orphans, run_ctclip
from tests.workers.intake.test_splitting import OTHER_UID, move

ABDOMEN = Path(__file__).parents[1] / "golden" / "dicom" / "abdomen_siemens_20.zip"

pytestmark = pytest.mark.stack


@pytest.fixture(scope="session")
def two_studies(phantom_zip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One ZIP of two studies."""
    files = unpack(phantom_zip)
    path = tmp_path_factory.mktemp("mixed") / "both.zip"
    path.write_bytes(pack({**files, **move(files, OTHER_UID)}))
    return path


def submit(stack: RunningStack, study: Path, **options: str) -> str:
    with study.open("rb") as body:
        answer = stack.http.post("/v1/jobs", files={"file": ("study.zip", body)}, params=options)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def read_intake(stack: RunningStack, job_id: str) -> dict[str, Any]:
    document: dict[str, Any] = stack.http.get(f"/v1/jobs/{job_id}/intake").json()
    return document


class TestAValidation:
    def test_of_a_good_study_completes_with_what_was_found_and_without_a_result(
        self, stack: RunningStack, phantom_zip: Path
    ) -> None:
        job_id = submit(stack, phantom_zip, validate_only="true")
        job = stack.wait_for_end(job_id)
        assert (job["state"], job["problem"], job["links"]["result"]) == ("completed", None, None)
        reasons = {stage["name"]: stage["reason"] for stage in job["stages"]}
        assert reasons["mednext"] == reasons["fusion"] == "validate_only"
        intake = read_intake(stack, job_id)
        assert intake["chosen"]["shape_zyx"][0] == sum(file["outcome"] == "used" for file in intake["files"])
        assert len(intake["hu"]["sha256_int16_zyx"]) == 64
        answer = stack.http.get(f"/v1/jobs/{job_id}/result")
        assert (answer.status_code, answer.json()["code"]) == (409, "job_has_no_result")
        artefacts = stack.http.get(f"/v1/jobs/{job_id}/artifacts").json()["items"]
        assert [(item["name"], item["media_type"]) for item in artefacts] == [("preview", "image/png")]
        assert stack.http.get(artefacts[0]["href"]).content.startswith(b"\x89PNG")

    def test_of_a_bad_study_is_rejected_as_it_would_be(self, stack: RunningStack) -> None:
        job_id = submit(stack, ABDOMEN, validate_only="true")
        job = stack.wait_for_end(job_id)
        assert (job["state"], job["problem"]["code"]) == ("rejected", "no_lungs_found")
        assert read_intake(stack, job_id)["chosen"]["shape_zyx"][0] == 20

    def test_is_told_by_the_command(self, stack: RunningStack, phantom_zip: Path) -> None:
        done = run_ctclip("submit", str(phantom_zip), "--validate-only", "--wait", "--json", "--api-url", stack.url)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["chosen"]["series_uid"]


class TestASplit:
    def test_reads_every_study_of_the_upload(self, stack: RunningStack, two_studies: Path) -> None:
        job = stack.wait_for_end(submit(stack, two_studies, split="true", models="mednext"))
        assert (job["state"], job["problem"]["code"]) == ("rejected", "mixed_studies")
        parts = job["problem"]["jobs"]
        assert len(parts) == 2
        for part in parts:
            ended = stack.wait_for_end(part["id"])
            assert ended["state"] == "completed_partial", ended
            result = stack.http.get(ended["links"]["result"]).json()
            assert result["study_uid"] == part["study_instance_uid"]

    def test_of_one_study_is_that_study(self, stack: RunningStack, phantom_zip: Path) -> None:
        job = stack.wait_for_end(submit(stack, phantom_zip, split="true", validate_only="true"))
        assert (job["state"], job["problem"]) == ("completed", None)

    def test_is_not_made_unasked(self, stack: RunningStack, two_studies: Path) -> None:
        job = stack.wait_for_end(submit(stack, two_studies))
        assert job["problem"]["code"] == "mixed_studies"
        assert "jobs" not in job["problem"]
        assert [study["modalities"] for study in job["problem"]["studies"]] == [["CT"], ["CT"]]

    def test_leaves_no_orphan(self, stack: RunningStack, two_studies: Path) -> None:
        before = find_orphans(stack)
        job = stack.wait_for_end(submit(stack, two_studies, split="true", validate_only="true"))
        states = {stack.wait_for_end(part["id"])["state"] for part in job["problem"]["jobs"]}
        assert states == {"completed"}
        assert find_orphans(stack) <= before
