"""What a policy may say of the reconstruction, and what it may not."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from model_weights.policies import Policy, ReconstructionOptions, parse_policy, read_policy, read_reconstruction
from model_weights.policies.reconstruction import PREDECESSOR_QUIRKS, Quirks, SliceChoice, When
from shared.errors import Defect
from workers.command.policies import app

POLICY = 'name = "own"\nversion = "1"\nthreshold = 0.59\nminimum_models = 1\n'
ASKED = '[reconstruction]\nwhen = "on_suspicion"\nchoice = "most_suspicious"\nsteps = 20\nquirks = "predecessor"\n'


def write_policy(folder: Path, text: str) -> Path:
    path = folder / "own.toml"
    path.write_text(text)
    return path


class TestOptions:
    def test_nothing_is_reconstructed_unless_the_policy_says_so(self) -> None:
        options = read_reconstruction({})
        assert options.when is When.OFF
        assert options.quirks == Quirks()

    def test_a_policy_may_ask_for_the_predecessor(self) -> None:
        options = ReconstructionOptions.from_table(tomllib.loads(ASKED)["reconstruction"])
        assert (options.when, options.choice) == (When.ON_SUSPICION, SliceChoice.MOST_SUSPICIOUS)
        assert options.quirks == PREDECESSOR_QUIRKS

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ("always", "must be a table"),
            ({"wen": "off"}, "unknown"),
            ({"when": "sometimes"}, "expected one of"),
            ({"quirks": "all"}, "expected a table"),
            ({"quirks": {"random_start": "no"}}, "random_start is 'no', expected bool"),
            ({"quirks": {"repeated_times": 1}}, "at least 2"),
            ({"regions": {"most": -1}}, "not be negative"),
            ({"regions": {"threshold_hu": "high"}}, "threshold_hu is 'high'"),
            ({"steps": 0}, "positive"),
            ({"steps": 2.5}, "steps is 2.5, expected int"),
            ({"slices": True}, "slices is True, expected int"),
            ({"suspicion": "high"}, "suspicion is 'high', expected float"),
            ({"suspicion": float("nan")}, "expected float"),
            ({"budget_tflop": 0.0}, "positive"),
            ({"seed": -1}, "seed"),
        ],
    )
    def test_what_cannot_be_understood_is_refused(self, table: object, message: str) -> None:
        with pytest.raises(Defect, match=message):
            ReconstructionOptions.from_table(table)

    @pytest.mark.parametrize(
        "table",
        [
            {"when": "off"},
            {"when": "always", "steps": 7, "quirks": {"random_start": True}, "regions": {"threshold_hu": 90.0}},
            {"when": "on_suspicion", "suspicion": 0.9, "choice": "most_suspicious", "seed": 3},
        ],
    )
    def test_the_json_form_says_the_same(self, table: dict[str, Any]) -> None:
        options = ReconstructionOptions.from_table(table)
        assert options.to_document() == table
        assert ReconstructionOptions.from_table(json.loads(json.dumps(options.to_document()))) == options


class TestInPolicies:
    def test_a_policy_carries_its_options_to_the_job(self, tmp_path: Path) -> None:
        policy = read_policy(write_policy(tmp_path, POLICY + ASKED))
        document = json.loads(json.dumps(policy.to_document()))
        assert read_reconstruction(document) == policy.reconstruction
        assert parse_policy(document) == policy

    def test_a_policy_without_them_keeps_its_digest(self) -> None:
        plain = Policy("own", "1", 0.59, 1)
        assert "reconstruction" not in plain.to_document()
        assert plain.id == "own-1-" + plain.digest[:8]
        assert plain.digest != Policy("own", "1", 0.59, 1, reconstruction=ReconstructionOptions()).digest

    def test_the_check_refuses_what_cannot_be_understood(self, tmp_path: Path) -> None:
        path = write_policy(tmp_path, POLICY + '[reconstruction]\nwhen = "sometimes"\n')
        result = CliRunner().invoke(app, ["check", str(path)])
        assert result.exit_code == 2
        assert "when is 'sometimes'" in result.stderr

    def test_the_check_says_what_is_reconstructed(self, tmp_path: Path) -> None:
        result = CliRunner().invoke(app, ["check", str(write_policy(tmp_path, POLICY + ASKED))])
        assert result.exit_code == 0
        assert "anomaly map on_suspicion" in result.stdout
