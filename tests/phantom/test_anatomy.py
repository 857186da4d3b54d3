"""The healthy chest: densities as in life, and lungs that an ordinary segmentation finds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from phantom.study import Study
from tests.phantom.conftest import MakeStudy

SEEDS = (1, 2, 3)
ORGANS = {
    "trachea": ((16,), -1024, -850),
    "lungs": ((10, 11, 12, 13, 14), -900, -780),
    "heart": ((51,), 20, 60),
    "aorta": ((52,), 25, 60),
    "liver": ((5,), 35, 75),
    "muscles of the back": ((86, 87), 30, 65),
    "vertebrae": (tuple(range(27, 51)), 100, 420),
    "ribs": (tuple(range(92, 116)), 100, 700),
    "spinal cord": ((79,), 0, 60),
    "oesophagus": ((15,), 15, 60),
}


def find_lungs(study: Study) -> npt.NDArray[np.bool_]:
    """Air inside of the body: below -500 HU and not joined to the border of any slice."""
    components, _ = ndimage.label(study.hu < -500)
    border = np.zeros(study.hu.shape[1:], dtype=bool)
    border[[0, -1]] = border[:, [0, -1]] = True
    outside = np.unique(components[:, border])
    inside = (components > 0) & ~np.isin(components, outside)
    return np.asarray(inside)


@pytest.mark.parametrize("seed", SEEDS)
class TestDensities:
    @pytest.mark.parametrize("organ", sorted(ORGANS))
    def test_each_organ_has_the_density_of_life(self, studies: MakeStudy, seed: int, organ: str) -> None:
        study = studies(seed)
        labels, low, high = ORGANS[organ]
        inside = np.isin(study.labels, labels)
        assert inside.sum() > 20
        assert low < np.median(study.hu[inside]) < high

    def test_the_room_is_air_and_the_skin_holds_fat(self, studies: MakeStudy, seed: int) -> None:
        study = studies(seed)
        assert -1024 <= np.median(study.hu[:, 0]) < -970
        assert ((study.hu > -130) & (study.hu < -70)).mean() > 0.02

    def test_the_lungs_are_denser_at_the_back(self, studies: MakeStudy, seed: int) -> None:
        study = studies(seed)
        inside = ndimage.binary_erosion(np.isin(study.labels, ORGANS["lungs"][0]))
        y = np.nonzero(inside)[1]
        values = study.hu[inside]
        front, back = np.quantile(y, (0.25, 0.75))
        assert np.median(values[y > back]) > np.median(values[y < front]) + 10


@pytest.mark.parametrize("seed", SEEDS)
class TestLungs:
    def test_an_ordinary_segmentation_finds_them(self, studies: MakeStudy, seed: int) -> None:
        study = studies(seed)
        found = find_lungs(study)
        litres = found.sum() * np.prod(study.spacing_zyx_mm) * 1e-6
        slices_mm = found.any(axis=(1, 2)).sum() * study.spacing_zyx_mm[0]
        assert 2.5 < litres < 9
        assert slices_mm > 200

    def test_what_is_found_is_what_is_labelled(self, studies: MakeStudy, seed: int) -> None:
        study = studies(seed)
        found, meant = find_lungs(study), np.isin(study.labels, (*ORGANS["lungs"][0], 16))
        assert 2 * (found & meant).sum() / (found.sum() + meant.sum()) > 0.93

    def test_they_lie_whole_inside_of_the_study(self, studies: MakeStudy, seed: int) -> None:
        lungs = np.isin(studies(seed).labels, ORGANS["lungs"][0])
        assert not lungs[-1].any()
        assert not lungs[:, [0, -1]].any()
        assert not lungs[:, :, [0, -1]].any()

    def test_every_lobe_is_there(self, studies: MakeStudy, seed: int) -> None:
        counts = np.bincount(studies(seed).labels.ravel(), minlength=15)[10:15]
        assert (counts > 0.05 * counts.sum()).all()


@pytest.mark.parametrize("seed", SEEDS)
class TestPlaces:
    """In LPS: the heart lies to the left, the liver to the right and low, the spine behind."""

    def find_centre(self, study: Study, *labels: int) -> npt.NDArray[np.float64]:
        z, y, x = (axis.mean() for axis in np.nonzero(np.isin(study.labels, labels)))
        step, pixel, _ = study.spacing_zyx_mm
        offset = (x * pixel, y * pixel, z * step)
        return np.asarray(np.add(study.origin_lps_mm, offset))

    def test_heart_liver_and_spine_are_where_they_belong(self, studies: MakeStudy, seed: int) -> None:
        study = studies(seed)
        heart, liver = self.find_centre(study, 51), self.find_centre(study, 5)
        spine, trachea = self.find_centre(study, *range(27, 51)), self.find_centre(study, 16)
        assert heart[0] > 3
        assert liver[0] < -20
        assert liver[2] < heart[2] < trachea[2]
        assert spine[1] > heart[1] + 50
