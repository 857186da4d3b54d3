"""Policies: strict reading, and an id that changes with every word."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from model_weights.policies import Policy, load_policies, parse_policy
from shared.errors import Defect

POLICY = Policy(name="default", version="1", threshold=0.59, minimum_models=1)
TEXT = 'name = "a"\nversion = "1"\nthreshold = 0.5\nminimum_models = 1\n'


class TestIdentity:
    @pytest.mark.parametrize("change", [{"version": "2"}, {"threshold": 0.6}, {"minimum_models": 2}, {"name": "other"}])
    def test_every_change_makes_another_id(self, change: dict[str, object]) -> None:
        assert replace(POLICY, **change).id != POLICY.id  # type: ignore[arg-type]  # the parameters above

    def test_the_json_form_reads_back_as_the_same_policy(self) -> None:
        assert parse_policy(POLICY.to_document()) == POLICY

    def test_a_stored_policy_whose_words_changed_is_refused(self) -> None:
        with pytest.raises(Defect, match="names itself"):
            parse_policy({**POLICY.to_document(), "threshold": 0.1})


class TestReading:
    def test_the_package_ships_the_default_and_the_skeleton(self) -> None:
        shipped = {policy.name: (policy.threshold, policy.minimum_models) for policy in load_policies()}
        assert shipped == {"default": (0.59, 1), "skeleton": (0.59, 0)}

    @pytest.mark.parametrize(
        "text",
        [
            TEXT.replace("0.5", "1.5"),
            TEXT.replace("minimum_models = 1", "minimum_models = -1"),
            TEXT.replace('"a"', '"A b"'),
            TEXT + 'calibration = "platt"\n',
            TEXT + "extra = 1\n",
            TEXT.replace("threshold = 0.5\n", ""),
            "threshold =",
        ],
    )
    def test_a_wrong_file_is_refused(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "a.toml").write_text(text)
        with pytest.raises(Defect):
            load_policies(tmp_path)

    def test_two_policies_of_one_name_are_refused(self, tmp_path: Path) -> None:
        for file in ("a.toml", "b.toml"):
            (tmp_path / file).write_text(TEXT)
        with pytest.raises(Defect, match="share a name"):
            load_policies(tmp_path)

    def test_a_job_without_a_policy_is_a_defect(self) -> None:
        with pytest.raises(Defect, match="wrong fields"):
            parse_policy({})
