"""The tables of a segmentation entry: what is written is read, what does not fit is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import Defect
from workers.segmentation.configuration import Architecture, Preprocessing

ARCHITECTURE: dict[str, Any] = {
    "n_stages": 2,
    "features_per_stage": [4, 8],
    "kernel_sizes": [[3, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [2, 2, 2]],
    "n_conv_per_stage": [1, 1],
    "n_conv_per_stage_decoder": [1],
    "patch_size": [32, 32, 32],
}
PREPROCESSING: dict[str, Any] = {"clip_hu": [-1000.0, 900.0], "mean_hu": -100.0, "std_hu": 300.0}


def test_tables_come_back() -> None:
    architecture = Architecture.from_table(ARCHITECTURE)
    assert architecture.to_table().items() >= ARCHITECTURE.items()
    assert Architecture.from_table(architecture.to_table()) == architecture
    preprocessing = Preprocessing.from_table(PREPROCESSING)
    assert Preprocessing.from_table(preprocessing.to_table()) == preprocessing
    assert architecture.stride_zyx == (2, 2, 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"features_per_stage": [4]}, "features_per_stage"),
        ({"n_conv_per_stage_decoder": [1, 1]}, "n_conv_per_stage_decoder"),
        ({"patch_size": [32, 32]}, "three numbers"),
        ({"patch_size": [32, 32, 33]}, "multiple"),
        ({"strides": [[1, 1, 1], [0, 2, 2]]}, "positive"),
        ({"trainer": "another"}, "trainer"),
        ({"depth": 3}, "depth"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(Defect, match=words):
        Architecture.from_table({**ARCHITECTURE, **change})


@pytest.mark.parametrize(
    ("change", "words"),
    [({"spacing_mm": [1.5, 1.5, 1.5]}, "spacing_mm"), ({"clip_hu": [5, 5]}, "rise"), ({"std_hu": 0}, "std_hu")],
)
def test_preprocessing_that_is_not_the_fast_tasks_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(Defect, match=words):
        Preprocessing.from_table({**PREPROCESSING, **change})


def test_a_missing_field_is_named() -> None:
    with pytest.raises(Defect, match="mean_hu"):
        Preprocessing.from_table({"clip_hu": [0, 1], "std_hu": 1})
