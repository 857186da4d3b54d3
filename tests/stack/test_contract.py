"""Schemathesis against the whole platform: no 500, and nothing that its own description does not say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stack.running import RunningStack

# Phases, and the seconds that they may take. The second follows links: what one answer names is asked for by the next.
RUNS = [("examples,coverage,fuzzing", 40), ("stateful", 12)]
# Longer than a study that is none takes to be refused: /predict and streams of events hold their caller until then.
ANSWER_LIMIT_S = 60
# Left out: what refuses more than a schema can say; a ZIP is judged by its bytes, an address by where it leads.
NOT_IN_SCHEMAS = "positive_data_acceptance,ensure_resource_availability,use_after_free"


@pytest.fixture
def _webhooks(stack: RunningStack) -> Iterator[None]:
    """Delete every webhook that is made: a fast machine makes as many as a platform takes, and others need some."""
    before = {each["id"] for each in stack.list_webhooks()}
    yield
    for made in {each["id"] for each in stack.list_webhooks()} - before:
        stack.http.delete(f"/v1/webhooks/{made}").raise_for_status()


@pytest.mark.usefixtures("_webhooks")
class TestTheContract:
    @pytest.mark.parametrize(("phases", "budget_s"), RUNS)
    def test_holds_for_whatever_schemathesis_makes_of_it(
        self, stack: RunningStack, tmp_path: Path, phases: str, budget_s: int
    ) -> None:
        description = tmp_path / "openapi.json"
        description.write_text(json.dumps(_open_up(stack.http.get("/openapi.json").json())), "utf-8")
        ran = subprocess.run(
            [
                *(str(Path(sys.executable).with_name("st")), "run", str(description), "--url", stack.url),
                *("--max-time", str(budget_s), "--phases", phases, "--seed", "7"),
                *("--checks", "all", "--exclude-checks", NOT_IN_SCHEMAS),
                *("--request-timeout", str(ANSWER_LIMIT_S), "--suppress-health-check", "all"),
                *("--continue-on-failure", "--no-color", "--generation-database", "none"),
            ],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONUTF8": "1"},
            timeout=5 * budget_s + 2 * ANSWER_LIMIT_S,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr[-2000:]


def _open_up(document: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a platform without authentication, as this one is."""
    for methods in document["paths"].values():
        for operation in methods.values():
            operation.pop("security", None)
    return document
