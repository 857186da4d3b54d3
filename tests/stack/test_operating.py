"""The operator's commands against the whole platform, as it runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.stack.running import RunningStack, run_ctclip

pytestmark = pytest.mark.stack

PAUSED = "supervised"


def run(stack: RunningStack, *arguments: str) -> Any:  # noqa: ANN401  # what JSON says
    done = run_ctclip(*arguments, "--state", str(stack.state), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@contextmanager
def paused_model(stack: RunningStack) -> Iterator[None]:
    run(stack, "models", "pause", PAUSED)
    try:
        yield
    finally:
        run(stack, "models", "resume", PAUSED)


class TestTheDoctor:
    def test_finds_nothing_broken_where_everything_runs(self, stack: RunningStack) -> None:
        links = run(stack, "doctor")["links"]
        found = {name: link["verdict"] for name, link in links.items()}
        assert {found[name] for name in ("database", "clock", "broker", "storage", "scratch")} == {"ok"}, links
        workers = {finding["check"]: finding["verdict"] for finding in links["workers"]["findings"]}
        assert {workers[check] for check in ("stages", "control", "gateway", "delivery")} == {"ok"}, links["workers"]


class TestAPausedModel:
    def test_is_missing_from_results_which_say_so(self, stack: RunningStack, phantom_zip: Path) -> None:
        with paused_model(stack):
            listed = stack.http.get("/v1/models").json()
            job = stack.wait_for_end(stack.submit(phantom_zip, models=f"mednext,{PAUSED}"))
        told = {model["name"]: (model["is_available"], model["reason"]) for model in listed["items"]}
        assert told[PAUSED] == (False, "model_paused")
        assert job["state"] == "completed_partial"
        result = stack.http.get(f"/v1/jobs/{job['id']}/result").json()
        assert {"model": PAUSED, "reason": "model_paused"} in result["completeness"]["missing"]
        notice = next(each for each in result["quality"] if each["code"] == "models_paused")
        assert notice["facts"]["models"] == [PAUSED]
        assert run(stack, "jobs", "show", job["id"])["state"] == "completed_partial"
