"""How a self-check is judged: by what is installed, and by the first run of the same weights."""

from __future__ import annotations

import pytest

from workers.self_check.judging import TOLERANCE, CheckedRun, judge_run

WEIGHTS = {"mednext": "a" * 64, "fusion": "b" * 64}
FIRST = CheckedRun(WEIGHTS, "default-1", {"kolyan_mass": 0.4, "probability_of_pathology": 0.7})


def make_run(**numbers: float) -> CheckedRun:
    return CheckedRun(WEIGHTS, "default-1", {**FIRST.numbers, **numbers})


class TestJudging:
    def test_the_first_run_has_nothing_to_be_compared_with(self) -> None:
        verdict = judge_run(FIRST, WEIGHTS, None)
        assert verdict.is_passed
        assert verdict.is_first
        assert verdict.largest_difference is None

    @pytest.mark.parametrize(("moved", "is_passed"), [(0.0, True), (TOLERANCE * 0.9, True), (TOLERANCE * 1.1, False)])
    def test_a_number_may_move_within_the_tolerance(self, moved: float, is_passed: bool) -> None:
        verdict = judge_run(make_run(kolyan_mass=0.4 + moved), WEIGHTS, FIRST)
        assert verdict.is_passed is is_passed
        assert verdict.largest_difference == pytest.approx(moved)

    def test_what_differs_is_named(self) -> None:
        verdict = judge_run(make_run(kolyan_mass=0.9), WEIGHTS, FIRST)
        assert verdict.failures == ("differs: kolyan_mass by 0.5000",)

    def test_a_number_that_is_gone_is_a_failure(self) -> None:
        gone = CheckedRun(WEIGHTS, "default-1", {"probability_of_pathology": 0.7})
        assert not judge_run(gone, WEIGHTS, FIRST).is_passed

    def test_an_installed_model_that_did_not_answer_is_named_also_the_first_time(self) -> None:
        verdict = judge_run(FIRST, [*WEIGHTS, "ct_clip"], None)
        assert verdict.failures == ("no_answer: ct_clip",)
