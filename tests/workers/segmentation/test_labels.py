"""The names of the task `total` are the installed package's own."""

from __future__ import annotations

import pytest
from totalsegmentator.map_to_binary import class_map

from workers.segmentation.labels import LUNG_LOBES, TOTAL_NAMES, TOTAL_NUMBERS, get_name


def test_names_and_numbers_are_those_of_the_package() -> None:
    assert dict(enumerate(TOTAL_NAMES, 1)) == class_map["total"]
    assert {number: name for name, number in TOTAL_NUMBERS.items()} == class_map["total"]


def test_the_lungs_are_five_lobes_side_by_side() -> None:
    assert [TOTAL_NUMBERS[lobe] for lobe in LUNG_LOBES] == [10, 11, 12, 13, 14]


def test_a_number_has_its_name_and_others_have_none() -> None:
    assert (get_name(1), get_name(52), get_name(117)) == ("spleen", "aorta", TOTAL_NAMES[-1])
    for number in (0, 118):
        with pytest.raises(KeyError):
            get_name(number)
