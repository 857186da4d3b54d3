"""The whole platform answers a study that it knows without running a model, runs jobs again and signs what it says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from phantom.dicom import write_zip
from phantom.study import PhantomSettings, make_study
from tests.stack.running import RunningStack, run_ctclip

pytestmark = pytest.mark.stack

MODELS = ("ct_clip", "supervised", "mednext", "diffusion", "segmentation", "fvlm")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that no other test sends."""
    return make_zip(tmp_path_factory.mktemp("known") / "study.zip", seed=4711)


@pytest.fixture(scope="module")
def answered(stack: RunningStack, study: Path) -> dict[str, Any]:
    """A job of the study whose models have run."""
    return stack.wait_for_end(stack.submit(study))


def make_zip(path: Path, *, seed: int) -> Path:
    write_zip(make_study(seed, ("pleural_effusion",), PhantomSettings.coarse()), path)
    return path


def list_models(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the stages of models that this installation has, by name."""
    return {stage["name"]: stage for stage in job["stages"] if stage["name"] in MODELS and stage["state"] != "skipped"}


def fetch_result(stack: RunningStack, job_id: str) -> dict[str, Any]:
    result: dict[str, Any] = stack.http.get(f"/v1/jobs/{job_id}/result").raise_for_status().json()
    return result


def list_artifacts(stack: RunningStack, job_id: str) -> dict[str, dict[str, Any]]:
    """Return the artefacts of a job by name."""
    items = stack.http.get(f"/v1/jobs/{job_id}/artifacts").raise_for_status().json()["items"]
    return {item["name"]: item for item in items}


@contextmanager
def other_weights(stack: RunningStack, stage: str) -> Iterator[None]:
    """Let the platform believe that a stage has got other weights."""
    change = text("UPDATE model_versions SET digest = :new WHERE stage = :stage AND is_active RETURNING digest")
    look = text("SELECT digest FROM model_versions WHERE stage = :stage AND is_active")
    with stack.engine.begin() as connection:
        old = connection.execute(look, {"stage": stage}).scalar_one()
        connection.execute(change, {"stage": stage, "new": "f" * 64})
    try:
        yield
    finally:
        with stack.engine.begin() as connection:
            connection.execute(change, {"stage": stage, "new": old})


class TestTheSameStudy:
    def test_is_answered_without_any_model_running(
        self, stack: RunningStack, study: Path, answered: dict[str, Any]
    ) -> None:
        job = stack.wait_for_end(stack.submit(study, reuse=True))
        assert (job["state"], job["reused_from"]) == (answered["state"], answered["id"])
        models = list_models(job)
        assert models.keys() == list_models(answered).keys() != set()
        for stage in models.values():
            assert (stage["state"], stage["attempt"], stage["started_at"]) == ("succeeded", 0, None)
            assert (stage["seconds"], stage["reused_from"]) == (None, answered["id"])
        first, second = (fetch_result(stack, each["id"]) for each in (answered, job))
        told = ("probability_of_pathology", "pathology", "completeness", "top_pathologies", "attribution", "organs")
        assert {word: second[word] for word in told} == {word: first[word] for word in told}
        assert {model["name"]: model.get("reused_from") for model in second["models"] if model["name"] != "fusion"} == {
            model["name"]: answered["id"] for model in first["models"] if model["name"] != "fusion"
        }

    def test_runs_the_one_model_whose_weights_have_changed(
        self, stack: RunningStack, study: Path, answered: dict[str, Any]
    ) -> None:
        with other_weights(stack, "mednext"):
            job = stack.wait_for_end(stack.submit(study, reuse=True))
        models = list_models(job)
        assert (models["mednext"]["attempt"], models["mednext"]["reused_from"]) == (1, None)
        others = {name: stage["reused_from"] for name, stage in models.items() if name != "mednext"}
        assert set(others.values()) == {answered["id"]}

    def test_that_asks_for_no_reuse_runs_every_model(
        self, stack: RunningStack, study: Path, answered: dict[str, Any]
    ) -> None:
        job = stack.wait_for_end(stack.submit(study, models="mednext", reuse=False))
        assert job["reused_from"] is None
        assert list_models(job)["mednext"]["attempt"] == 1

    def test_stays_whole_when_the_job_that_answered_it_is_erased(self, stack: RunningStack, tmp_path: Path) -> None:
        study = make_zip(tmp_path / "study.zip", seed=4712)
        first = stack.wait_for_end(stack.submit(study, models="mednext,supervised"))
        second = stack.wait_for_end(stack.submit(study, models="mednext,supervised", reuse=True))
        assert second["reused_from"] == first["id"]
        before, made = fetch_result(stack, second["id"]), list_artifacts(stack, first["id"])
        assert stack.http.delete(f"/v1/jobs/{first['id']}").status_code == 200
        assert fetch_result(stack, second["id"]) == before
        left = list_artifacts(stack, second["id"])
        assert left.keys() == made.keys() >= {"volume", "run_manifest"}
        for artefact in left.values():
            body = stack.http.get(artefact["href"]).raise_for_status().content
            assert hashlib.sha256(body).hexdigest() == artefact["sha256"]
        third = stack.wait_for_end(stack.submit(study, models="mednext,supervised", reuse=True))
        assert {stage["reused_from"] for stage in list_models(third).values()} == {first["id"]}


class TestReplay:
    def test_of_a_job_agrees_in_every_number(self, stack: RunningStack, answered: dict[str, Any]) -> None:
        replayed = run_ctclip("replay", answered["id"], "--state", str(stack.state), "--json")
        assert replayed.returncode == 0, replayed.stdout + replayed.stderr
        told = json.loads(replayed.stdout)
        assert (told["agrees"], told["begins_at"], told["changes"]) == (True, "upload", [])
        assert {feature["stage"] for feature in told["features"]} >= {"mednext", "ct_clip", "fusion"}
        job = stack.fetch_job(told["replay_job_id"])
        assert (job["labels"], job["reused_from"]) == ({"replay_of": answered["id"]}, None)

    def test_of_no_job_says_so(self, stack: RunningStack) -> None:
        replayed = run_ctclip("replay", "6b0f1f6e-3c55-4d0e-9f6e-0d3b0a7a5a11", "--state", str(stack.state))
        assert replayed.returncode == 2
        assert "there is no job" in replayed.stderr


class TestAReceipt:
    def test_is_verified_offline_and_by_nothing_else(
        self, stack: RunningStack, answered: dict[str, Any], tmp_path: Path
    ) -> None:
        place = f"/v1/jobs/{answered['id']}"
        paths = {"result": f"{place}/result", "receipt": f"{place}/receipt", "key": "/v1/receipt-key"}
        files = {name: tmp_path / f"{name}.json" for name in paths}
        for name, path in paths.items():
            files[name].write_bytes(stack.http.get(path).raise_for_status().content)
        manifest = tmp_path / "manifest.json"
        manifest.write_bytes(stack.http.get(f"{place}/artifacts/run_manifest").raise_for_status().content)
        given = ("verify", str(files["result"]), str(files["receipt"]), "--public-key", str(files["key"]))
        verified = run_ctclip(*given, "--manifest", str(manifest))
        assert verified.returncode == 0, verified.stdout + verified.stderr
        result = json.loads(files["result"].read_text())
        files["result"].write_text(json.dumps({**result, "pathology": 1 - result["pathology"]}, indent=1))
        assert run_ctclip(*given).returncode == 1
