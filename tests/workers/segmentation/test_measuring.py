"""Volume, extent, density and the edges of organs, against figures worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from shared.features import FEATURE_NAMES
from workers.segmentation.labels import TOTAL_NUMBERS
from workers.segmentation.measuring import OrganMeasurement, measure_organs, name_features
from workers.volume.artefact import CHUNK_SLICES

SPACING = (2.0, 1.0, 0.5)


def _measure() -> dict[str, OrganMeasurement]:
    labels = np.zeros((20, 8, 10), np.uint8)
    hu = np.full(labels.shape, -1000, np.int16)
    labels[2:18, 2:5, 3:7], hu[2:18, 2:5, 3:7] = TOTAL_NUMBERS["heart"], 40
    hu[2:10, 2:5, 3:7] = 60
    labels[0:2, :3, 9], hu[0:2, :3, 9] = TOTAL_NUMBERS["liver"], 100
    slabs = (hu[start : start + CHUNK_SLICES] for start in range(0, len(hu), CHUNK_SLICES))
    return {organ.name: organ for organ in measure_organs(labels, slabs, SPACING)}


class TestMeasureOrgans:
    def test_an_organ_has_volume_extent_and_density(self) -> None:
        heart = _measure()["heart"]
        assert heart.volume_ml == pytest.approx(16 * 3 * 4 * 1.0 / 1000)
        assert heart.extent_zyx_mm == (32.0, 3.0, 2.0)
        assert heart.mean_hu == pytest.approx(50)
        assert heart.std_hu == pytest.approx(10)
        assert not heart.is_truncated

    def test_an_organ_at_the_edge_of_the_scan_says_at_which(self) -> None:
        liver = _measure()["liver"]
        assert liver.is_truncated
        assert liver.edges == ("first_slice", "first_row", "last_column")

    def test_an_organ_that_is_not_there_is_not_measured(self) -> None:
        assert set(_measure()) == {"heart", "liver"}

    def test_an_empty_map_has_no_organs(self) -> None:
        assert measure_organs(np.zeros((2, 3, 4), np.uint8), [np.zeros((2, 3, 4), np.int16)], SPACING) == ()


class TestFeatures:
    def test_they_are_finite_and_none_of_the_fusions(self) -> None:
        features = name_features(_measure().values())
        assert features["organ_heart_volume_ml"] == pytest.approx(0.192)
        assert all(math.isfinite(value) for value in features.values())
        assert not set(features) & set(FEATURE_NAMES)

    def test_the_size_of_an_organ_that_is_cut_off_is_left_out(self) -> None:
        liver = {name for name in name_features(_measure().values()) if "liver" in name}
        assert liver == {"organ_liver_mean_hu", "organ_liver_std_hu"}
