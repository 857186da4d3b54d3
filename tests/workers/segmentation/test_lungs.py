"""Whether a study shows enough of the lungs: codes, measured and needed millimetres."""

from __future__ import annotations

import numpy as np

from shared.problems import Problem, ProblemCode
from workers.segmentation.lungs import count_lung_pixels, measure_lungs


def judge(lung_slices: int, slices: int, spacing_mm: float) -> Problem | None:
    return measure_lungs([4000] * lung_slices + [0] * (slices - lung_slices), spacing_mm).find_problem()


class TestLungs:
    def test_whole_lungs_are_enough(self) -> None:
        assert judge(40, 60, 5.0) is None

    def test_lungs_that_are_too_short_say_what_was_measured_and_what_is_needed(self) -> None:
        problem = judge(30, 60, 4.5)
        assert problem is not None
        assert problem.code is ProblemCode.INSUFFICIENT_COVERAGE
        assert problem.facts == {"found_mm": 135.0, "needed_mm": 145.0}

    def test_lungs_in_too_few_slices_are_none(self) -> None:
        problem = judge(34, 100, 5.0)
        assert problem is not None
        assert problem.code is ProblemCode.NO_LUNGS_FOUND
        assert problem.facts == {"lung_length_mm": 170.0, "lung_share": 0.34}

    def test_a_volume_without_slices_has_none(self) -> None:
        problem = measure_lungs([], 5.0).find_problem()
        assert problem is not None
        assert problem.code is ProblemCode.NO_LUNGS_FOUND

    def test_only_the_five_lobes_are_counted(self) -> None:
        labels = np.zeros((3, 4, 5), np.uint8)
        labels[0] = [[10], [11], [12], [13]]
        labels[1, 0] = 14
        labels[2] = [[9], [15], [51], [0]]
        assert count_lung_pixels(labels) == [20, 5, 0]

    def test_it_tells_what_was_measured_and_what_is_needed(self) -> None:
        assert measure_lungs([4000] * 30 + [0] * 30, 4.5).describe() == {
            "lung_length_mm": 135.0,
            "needed_mm": 145.0,
            "lung_share": 0.5,
            "needed_share": 0.35,
        }
