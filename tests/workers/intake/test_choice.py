"""Which series is read, and why."""

from __future__ import annotations

import json
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.intake.images import PLACEMENT, make_image, make_stack, rank_stacks
from workers.intake.choice.explaining import describe_candidates, explain_choice
from workers.intake.choice.kernels import KernelClass, classify_kernel
from workers.intake.choice.policy import CHOICE_POLICY
from workers.intake.choice.predecessor import SeriesSummary, choose_like_predecessor
from workers.intake.dicom.descriptions import NOTHING_DESCRIBED, describe_texts
from workers.intake.files import FileCode
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
            (("BONEPLUS",), KernelClass.LUNG),
            (("SOFT\u0020",), KernelClass.SOFT),
            ((" lung ",), KernelClass.LUNG),
            (("br 64 d", "3"), KernelClass.LUNG),
            (("Bv40f",), KernelClass.STANDARD),
            (("Hr60",), KernelClass.LUNG),
            (("Qr40d",), KernelClass.STANDARD),
            (("H21s",), KernelClass.SOFT),
            (("B31s",), KernelClass.STANDARD),
            (("yb",), KernelClass.LUNG),
            (("E",), KernelClass.LUNG),
            (("B",), KernelClass.STANDARD),
            (("BodySharp",), KernelClass.LUNG),
            (("B_SOFT_C",), KernelClass.SOFT),
            (("FC30",), KernelClass.STANDARD),
            (("fc 81",), KernelClass.LUNG),
            (("", "LUNG"), KernelClass.LUNG),
            (("32",), KernelClass.UNKNOWN),
            (("B123",), KernelClass.UNKNOWN),
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

    @pytest.mark.parametrize("kernel", ["STANDARD", "SOFT"])
    def test_the_whole_width_beats_a_lung_kernel_on_one_lung(self, kernel: str) -> None:
        near = replace(PLACEMENT, spacing_yx_mm=(0.35, 0.35))
        one_lung = Stack(
            tuple(
                make_image(index * 1.25, xy_mm=(-150.0, -90.0), placement=near, kernel=("LUNG",))
                for index in range(240)
            )
        )
        whole = make_stack(240, series_uid="1.2", kernel=(kernel,))
        assert rank_stacks(one_lung, whole)[0].stack is whole

    def test_a_wider_field_of_view_than_a_chest_is_no_better(self) -> None:
        wide = replace(PLACEMENT, spacing_yx_mm=(0.97, 0.97))
        images = tuple(make_image(index * 1.25, placement=wide) for index in range(240))
        assert rank_stacks(Stack(images))[0].score == rank_stacks(make_stack())[0].score

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

    @given(st.permutations(range(6)))
    def test_stacks_of_one_series_are_ranked_by_their_images(self, order: list[int]) -> None:
        stacks = [make_stack(30, 8.0, acquisition=number, instance_uid=f"1.{number}") for number in range(6)]
        ranked = rank_stacks(*(stacks[number] for number in order))
        assert [candidate.stack.technique.acquisition for candidate in ranked] == list(range(6))

    def test_the_policy_is_named_with_its_version(self) -> None:
        assert CHOICE_POLICY.id == "ranked-3"


THIN = make_stack(240, 1.25, series_uid="1.2", kernel=("STANDARD",))


class TestAgainstThePredecessor:
    """The rows of docs/adr/0006."""

    @pytest.mark.parametrize(
        ("loser", "winner"),
        [
            (make_stack(60, 5.0, series_uid="1.1", kernel=("LUNG",)), THIN),
            (make_stack(300, 0.5, series_uid="1.1", kernel=("LUNG",)), THIN),
            (make_stack(300, 1.0, series_uid="1.1"), make_stack(300, 1.0, series_uid="1.2", kernel=("Bl57d",))),
            (make_stack(400, 1.0, series_uid="1.1", kernel=("LUNG",), is_derived_view=True), THIN),
            (make_stack(1000, 0.3, series_uid="1.1"), make_stack(300, 1.0, series_uid="1.2")),
            (make_stack(400, 1.25, series_uid="1.1", body_part="ABDOMEN"), THIN),
            (
                make_stack(240, series_uid="1.1", described=replace(NOTHING_DESCRIBED, is_expiration=True)),
                make_stack(240, series_uid="1.2"),
            ),
            (
                make_stack(240, series_uid="1.1", described=replace(NOTHING_DESCRIBED, is_timed_elsewhere=True)),
                make_stack(240, series_uid="1.2"),
            ),
        ],
        ids=["thick", "half", "vendor", "reformat", "too_thin", "abdomen", "expiration", "other_organ"],
    )
    def test_where_the_order_departs(self, loser: Stack, winner: Stack) -> None:
        assert [candidate.stack for candidate in rank_stacks(loser, winner)] == [winner, loser]

    def test_where_it_follows(self) -> None:
        lung = make_stack(240, series_uid="1.2", kernel=("LUNG",))
        assert rank_stacks(make_stack(240, series_uid="1.1"), lung)[0].stack is lung
        more = make_stack(260, series_uid="1.2")
        assert rank_stacks(make_stack(250, series_uid="1.1"), more)[0].stack is more


class TestBodyPart:
    def score(self, **technique: object) -> float:
        return rank_stacks(make_stack(30, 8.0, **technique))[0].criteria["body_part"]  # type: ignore[arg-type]  # test data

    def test_the_tag_comes_first_and_the_description_is_heard(self) -> None:
        chest = replace(NOTHING_DESCRIBED, names_chest=True)
        other = replace(NOTHING_DESCRIBED, names_other_part=True)
        assert self.score(body_part="CHEST_TO_PELVIS") == 1.0
        assert self.score(body_part="", described=chest) == 1.0
        assert self.score(body_part="ABDOMEN", described=chest) == 0.5
        assert self.score(body_part="PARTIALBODY") == 0.5
        assert self.score(body_part="", described=other) == 0.0
        assert self.score(body_part="HEAD") == 0.0

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("Thorax 1.0 Bl57", (True, False, False, False)),
            ("CHEST^ROUTINE / exp.", (True, False, True, False)),
            ("abd. portal venous, Abdomen", (False, True, False, True)),
            ("EXPERT protocol", (False, False, False, False)),
            ("neck_2mm", (False, True, False, False)),
            ("Headache clinic Legrand", (False, False, False, False)),
        ],
    )
    def test_known_words_alone_are_taken_from_descriptions(self, text: str, expected: tuple[bool, ...]) -> None:
        assert astuple(describe_texts((text,))) == expected


class TestLocalizers:
    def test_three_images_across_the_scan_are_set_aside(self) -> None:
        sideways = replace(PLACEMENT, row_direction=(0.0, 1.0, 0.0), column_direction=(0.0, 0.0, -1.0))
        scout = Stack(tuple(make_image(placement=sideways, xy_mm=(x, 0)) for x in (0.0, 5.0)))
        scan, localizer = rank_stacks(scout, make_stack())
        assert localizer.problem is not None
        assert localizer.problem.detail.startswith("A localiser: 2 images at 90 degrees")
        assert localizer.file_code is FileCode.LOCALIZER
        assert scan.file_code is FileCode.NOT_CHOSEN

    def test_a_study_of_three_images_alone_has_none(self) -> None:
        (candidate,) = rank_stacks(make_stack(3))
        assert candidate.file_code is FileCode.NOT_CHOSEN


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

    def test_another_stack_of_a_forced_series_lost_by_its_score(self) -> None:
        candidates = rank_stacks(make_stack(series_uid="1.1"), make_stack(40, 7.5, series_uid="1.1"))
        explain_choice(candidates, candidates[0], is_forced=True)
        assert "weaker in slice_spacing" in candidates[1].reason

    def test_a_refused_candidate_tells_its_problem(self) -> None:
        candidates = rank_stacks(make_stack(), Stack((make_image(series_uid="1.2"),)))
        explain_choice(candidates, candidates[0], is_forced=False)
        assert candidates[1].reason.startswith("insufficient_coverage: ")
