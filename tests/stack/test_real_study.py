"""A real chest CT through the whole platform, asked for by callers who know only the contract."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.studies import REAL_STUDY
from model_weights.catalogue import load_catalogue
from shared.settings import WeightsProfile
from shared.stages import MODELS, StageName
from shared.states import JobState
from tests.stack.running import JOB_LIMIT_S, RunningStack, run_ctclip

pytestmark = pytest.mark.stack

CONTRACT = {
    "study_uid": str,
    "series_uid": str,
    "probability_of_pathology": float,
    "pathology": int,
    "most_dangerous_pathology_type": str,
    "processing_status": str,
    "time_of_processing": float,
}


def check_contract(answer: dict[str, Any]) -> None:
    """Hold the seven fields of a success against the contract."""
    assert {name: type(answer[name]) for name in CONTRACT} == CONTRACT
    assert 0 <= answer["probability_of_pathology"] <= 1
    assert answer["pathology"] in {0, 1}
    assert answer["processing_status"] == "Success"
    assert answer["study_uid"]
    assert answer["series_uid"]
    assert answer["most_dangerous_pathology_type"]


def post_as_a_stranger(url: str, study: Path) -> dict[str, Any]:
    """Post multipart with the standard library alone, as a caller's old script does."""
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{study.name}"\r\n'
    body = (
        f"{head}Content-Type: application/zip\r\n\r\n".encode()
        + study.read_bytes()
        + f"\r\n--{boundary}--\r\n".encode()
    )
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    request = urllib.request.Request(f"{url}/predict", data=body, headers=headers, method="POST")
    with urllib.request.urlopen(request, timeout=120) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def list_demo_stages() -> set[StageName]:
    """Return the stages that come with demo weights, the fusion among them."""
    return {entry.stage for entry in load_catalogue() if entry.weights_profile is WeightsProfile.DEMO}


class TestRealChest:
    def test_ends_in_a_result_of_all_models_that_explains_itself(self, stack: RunningStack) -> None:
        job_id = stack.submit(REAL_STUDY)
        job = stack.wait_for_end(job_id)
        assert job["state"] == JobState.COMPLETED, job
        result = stack.http.get(f"/v1/jobs/{job_id}/result").json()
        check_contract(result)
        assert result["job_id"] == job_id
        assert (result["completeness"]["answered"], result["completeness"]["missing"]) == (len(MODELS), [])
        # The masks are no answer: what made them stands in their artefact.
        assert {model["name"] for model in result["models"]} == list_demo_stages() - {StageName.SEGMENTATION}
        assert result["weights_profile"] == "demo"
        assert "clinical" in result["disclaimer"]
        assert result["series"]["slices"] == 124
        assert 0 < result["time_of_processing"] < JOB_LIMIT_S

    def test_shows_what_became_of_each_file(self, stack: RunningStack) -> None:
        job_id = stack.submit(REAL_STUDY, models="mednext")
        stack.wait_for_end(job_id)
        intake = stack.http.get(f"/v1/jobs/{job_id}/intake")
        assert intake.status_code == 200
        assert intake.text.count('"used"') >= 124


class TestPredict:
    def test_answers_a_script_without_our_client(self, stack: RunningStack, phantom_zip: Path) -> None:
        answer = post_as_a_stranger(stack.url, phantom_zip)
        check_contract(answer)
        assert set(answer) == set(CONTRACT)

    @pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
    def test_answers_curl(self, stack: RunningStack, phantom_zip: Path) -> None:
        curl = ["curl", "-sS", "-F", f"file=@{phantom_zip}", f"{stack.url}/predict"]
        done = subprocess.run(curl, capture_output=True, text=True, timeout=120, check=True)
        check_contract(json.loads(done.stdout))

    def test_tells_a_failure_in_the_same_fields(self, stack: RunningStack, tmp_path: Path) -> None:
        broken = tmp_path / "broken.zip"
        broken.write_bytes(b"PK\x03\x04 and then nothing")
        answer = stack.http.post("/predict", files={"file": ("broken.zip", broken.read_bytes())})
        assert answer.status_code >= 400
        told = answer.json()
        assert set(told) == {*CONTRACT, "error"}
        assert (told["study_uid"], told["series_uid"], told["processing_status"]) == ("", "", "Failure")
        assert told["probability_of_pathology"] is told["pathology"] is told["most_dangerous_pathology_type"] is None


class TestOurClient:
    def test_submits_waits_and_prints_the_result(self, stack: RunningStack, phantom_zip: Path) -> None:
        done = run_ctclip("submit", str(phantom_zip), "--wait", "--json", "--api-url", stack.url)
        assert done.returncode == 0, done.stderr
        check_contract(json.loads(done.stdout))

    def test_reads_the_result_to_people(self, stack: RunningStack, phantom_zip: Path) -> None:
        done = run_ctclip("submit", str(phantom_zip), "--wait", "--api-url", stack.url, COLUMNS="120")
        assert done.returncode == 0, done.stderr
        answered = f"{len(list_demo_stages() & set(MODELS))} of {len(MODELS)} models"
        for told in ("Probability", "Leading finding", answered, "from upload to result"):
            assert told in done.stdout
