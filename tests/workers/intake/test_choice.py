"""Which series is read, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.intake.images import make_image, make_stack, rank_stacks
from workers.intake.choice.explaining import describe_candidates, explain_choice
from workers.intake.choice.kernels import KernelClass, classify_kernel
from workers.intake.choice.policy import CHOICE_POLICY
from workers.intake.choice.predecessor import SeriesSummary, choose_like_predecessor
from workers.intake.stacks.stack import Stack

GOLDEN = Path(__file__).parents[2] / "golden" / "fusion" / "series_selection_golden.json"
CASES: list[dict[str, Any]] = json.loads(GOLDEN.read_text())


class TestPredecessor:
    @pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
    def test_every_golden_case(self, case: dict[str, Any]) -> None:
        series = [
            SeriesSummary(one["uid"], one["kernel"], one["filter_type"], one["valid_slices"]) for one in case["series"]
        ]
        assert choose_like_predecessor(series) == case["chosen"]


class TestKernels:
    @pytest.mark.parametrize(
        ("kernel", "expected"),
        [
            (("LUNG",), KernelClass.LUNG),
            (("BONE",), KernelClass.LUNG),
            (("STANDARD",), KernelClass.STANDARD),
            (("SOFT",), KernelClass.SOFT),
            (("B70f",), KernelClass.LUNG),
            (("Br38f", "3"), KernelClass.STANDARD),
            (("Bl57d",), KernelClass.LUNG),
            (("B20f",), KernelClass.SOFT),
            (("I31f", "2"), KernelClass.STANDARD),
            (("FC51",), KernelClass.LUNG),
            (("FC08",), KernelClass.SOFT),
            (("YA",), KernelClass.LUNG),
            (("C",), KernelClass.STANDARD),
            (("A",), KernelClass.SOFT),
            (("mystery",), KernelClass.UNKNOWN),
            (("",), KernelClass.UNKNOWN),
            (None, KernelClass.UNKNOWN),
        ],
    )
    def test_vendor_names(self, kernel: tuple[str, ...] | None, expected: KernelClass) -> None:
        assert classify_kernel(kernel) is expected


class TestRanking:
    def test_a_lung_kernel_wins_among_equals(self) -> None:
        soft = make_stack(series_uid="1.1", kernel=("SOFT",))
        lung = make_stack(series_uid="1.2", kernel=("LUNG",))
        assert rank_stacks(soft, lung)[0].stack is lung

    def test_a_thin_whole_standard_series_beats_a_thick_lung_series(self) -> None:
        thick = make_stack(40, 7.5, series_uid="1.1", kernel=("LUNG",))
        thin = make_stack(240, 1.25, series_uid="1.2", kernel=("STANDARD",))
        assert rank_stacks(thick, thin)[0].stack is thin

    def test_a_half_chest_loses(self) -> None:
        half = make_stack(100, series_uid="1.1", kernel=("LUNG",))
        whole = make_stack(240, series_uid="1.2", kernel=("STANDARD",))
        assert rank_stacks(half, whole)[0].stack is whole

    def test_a_reformat_is_never_eligible(self) -> None:
        (candidate,) = rank_stacks(make_stack(is_derived_view=True))
        assert candidate.problem is not None
        assert candidate.problem.code == "no_usable_series"

    def test_ties_are_broken_by_the_uid(self) -> None:
        first, second = make_stack(series_uid="1.1"), make_stack(series_uid="1.2")
        assert [one.stack for one in rank_stacks(second, first)] == [first, second]

    def test_nineteen_slices_are_too_few_and_twenty_are_enough(self) -> None:
        few, enough = rank_stacks(make_stack(19, 10.0))[0], rank_stacks(make_stack(20, 10.0))[0]
        assert few.problem is not None
        assert few.problem.facts == {"found_mm": 190.0, "needed_mm": 145.0}
        assert enough.problem is None

    def test_every_criterion_is_told_and_lies_between_nought_and_one(self) -> None:
        (candidate,) = rank_stacks(make_stack())
        assert candidate.criteria.keys() == CHOICE_POLICY.weights.keys()
        assert all(0 <= value <= 1 for value in candidate.criteria.values())

    @given(st.permutations(["LUNG", "STANDARD", "SOFT", "B70f", "Br38f"]))
    def test_the_order_of_stacks_does_not_matter(self, kernels: list[str]) -> None:
        stacks = [make_stack(30, 8.0, series_uid=f"1.{kernel}", kernel=(kernel,)) for kernel in kernels]
        assert rank_stacks(*stacks)[0].stack.series_uid == "1.B70f"


class TestReasons:
    def test_the_loser_hears_where_it_was_weaker(self) -> None:
        candidates = rank_stacks(make_stack(series_uid="1.1"), make_stack(40, 7.5, series_uid="1.2"))
        explain_choice(candidates, candidates[0], is_forced=False)
        reports = describe_candidates(candidates)
        assert "ahead of the next in slice_spacing" in reports[0].reason
        assert "weaker in slice_spacing" in reports[1].reason

    def test_a_forced_choice_says_so(self) -> None:
        candidates = rank_stacks(make_stack(series_uid="1.1"), make_stack(series_uid="1.2"))
        explain_choice(candidates, candidates[1], is_forced=True)
        assert candidates[1].reason == "asked for by series_instance_uid"
        assert "another series was asked for" in candidates[0].reason

    def test_a_refused_candidate_tells_its_problem(self) -> None:
        candidates = rank_stacks(make_stack(), Stack((make_image(series_uid="1.2"),)))
        explain_choice(candidates, candidates[0], is_forced=False)
        assert candidates[1].reason.startswith("insufficient_coverage: ")
