"""Names, model and window of the task `total` are the installed package's own."""

from __future__ import annotations

import inspect
from importlib.metadata import version

import pytest
from totalsegmentator.libs import download_pretrained_weights
from totalsegmentator.map_tasks_config import TASK_CONFIGS
from totalsegmentator.map_to_binary import class_map
from totalsegmentator.nnunet import nnUNet_predict_image

from workers.segmentation.configuration import FAST_SPACING_MM, FAST_TRAINER
from workers.segmentation.labels import LUNG_LOBES, TOTAL_NAMES, TOTAL_NUMBERS, get_name
from workers.segmentation.package_folder import DATASET
from workers.segmentation.predictor import STEP
from workers.segmentation.stage import SEGMENTER


def test_the_installed_package_is_the_one_whose_masks_are_made() -> None:
    # Another release may resample otherwise: run benchmarks.segmentation before this number is changed.
    assert version("TotalSegmentator") == SEGMENTER["version"]


def test_model_spacing_and_window_are_those_of_the_package() -> None:
    fast = TASK_CONFIGS["total"]["sub_modes"]["fast"]
    assert (fast["task_id"], fast["trainer"]) == (297, FAST_TRAINER)
    assert (fast["resample"],) * 3 == FAST_SPACING_MM
    assert f"step_size = {STEP}" in inspect.getsource(nnUNet_predict_image)
    assert f'"{DATASET}"' in inspect.getsource(download_pretrained_weights)


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
