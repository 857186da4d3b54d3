"""Every finding of the registry: it changes what its ground truth says, nothing else, and more when severe."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from phantom.findings.registry import REGISTRY
from phantom.study import FINDINGS, PhantomSettings, PlacedFinding, Study
from tests.phantom.conftest import MakeStudy

SEED = 4
MARGIN_MM = 14.0  # three coarse voxels: what a soft edge and the scanner's blur may reach
MILD = replace(PhantomSettings.coarse(), severity=(0.0, 0.0))
SEVERE = replace(PhantomSettings.coarse(), severity=(1.0, 1.0))


def compute_change(study: Study, healthy: Study) -> npt.NDArray[np.int32]:
    return np.asarray(np.abs(study.hu.astype(np.int32) - healthy.hu))


def mark_inside(study: Study, placed: PlacedFinding, margin_mm: float) -> npt.NDArray[np.bool_]:
    """Return the voxels (z, y, x) within the box of the ground truth and a margin."""
    inside = np.ones(study.hu.shape, dtype=bool)
    for axis in range(3):
        count = study.hu.shape[2 - axis]
        line = study.origin_lps_mm[axis] + study.spacing_zyx_mm[2 - axis] * np.arange(count)
        near = np.abs(line - placed.centre_lps_mm[axis]) <= placed.extent_mm[axis] / 2 + margin_mm
        inside &= near.reshape([count if 2 - axis == other else 1 for other in range(3)])
    return inside


@pytest.mark.parametrize("name", FINDINGS)
class TestEveryFinding:
    def test_ground_truth_names_it_and_lies_in_the_study(self, studies: MakeStudy, name: str) -> None:
        study = studies(SEED, name, settings=SEVERE)
        (placed,) = study.findings
        low = np.asarray(study.origin_lps_mm)
        high = low + np.asarray(study.spacing_zyx_mm[::-1]) * np.asarray(study.hu.shape[::-1])
        assert placed.name == name
        assert placed.severity == 1.0
        assert all(extent > 0 for extent in placed.extent_mm)
        assert (low <= placed.centre_lps_mm).all()
        assert (placed.centre_lps_mm <= high).all()

    def test_even_when_mild_it_changes_voxels_where_ground_truth_says(self, studies: MakeStudy, name: str) -> None:
        study = studies(SEED, name, settings=MILD)
        change = compute_change(study, studies(SEED, settings=MILD))
        assert (change[mark_inside(study, study.findings[0], 0.0)] > 20).sum() >= 3

    @pytest.mark.parametrize("settings", [MILD, SEVERE], ids=["mild", "severe"])
    def test_it_changes_nothing_elsewhere(self, studies: MakeStudy, name: str, settings: PhantomSettings) -> None:
        study = studies(SEED, name, settings=settings)
        change = compute_change(study, studies(SEED, settings=settings))
        assert not change[~mark_inside(study, study.findings[0], MARGIN_MM)].any()

    def test_a_severe_one_changes_more_than_a_mild_one(self, studies: MakeStudy, name: str) -> None:
        mild, severe = (
            compute_change(studies(SEED, name, settings=s), studies(SEED, settings=s)).sum() for s in (MILD, SEVERE)
        )
        assert severe > 1.2 * mild

    def test_severity_is_drawn_within_the_settings(self, studies: MakeStudy, name: str) -> None:
        (placed,) = studies(SEED, name, settings=replace(MILD, severity=(0.4, 0.6), matrix=64)).findings
        assert 0.4 <= placed.severity <= 0.6


class TestRegistry:
    def test_findings_are_registered_under_their_names(self) -> None:
        assert all(finding.name == name for name, finding in REGISTRY.items())

    def test_many_findings_live_together(self, studies: MakeStudy) -> None:
        study = studies(8, *FINDINGS)
        assert tuple(placed.name for placed in study.findings) == FINDINGS


class TestPlaces:
    def test_a_small_nodule_that_would_fall_into_an_airway_is_put_elsewhere(self, studies: MakeStudy) -> None:
        others = ("mass", "fibrosis", "aortic_calcification", "aortic_aneurysm")
        study = studies(701287, "nodule", *others)
        change = compute_change(study, studies(701287, *others))
        nodule = study.findings[0]
        assert nodule.name == "nodule"
        assert (change[mark_inside(study, nodule, 0.0)] > 20).sum() >= 3


class TestDensities:
    """What a finding is made of, in the middle of where it is."""

    @pytest.mark.parametrize(
        ("name", "low", "high"),
        [("mass", -20, 90), ("pneumothorax", -1024, -930), ("pleural_effusion", -10, 40)],
    )
    def test_it_has_the_density_of_life(self, studies: MakeStudy, name: str, low: int, high: int) -> None:
        study = studies(SEED, name, settings=SEVERE)
        change = compute_change(study, studies(SEED, settings=SEVERE))
        replaced = change > (600 if low > -100 else 60)
        assert low < np.median(study.hu[replaced]) < high

    def test_cardiomegaly_widens_the_heart_against_the_chest(self, studies: MakeStudy) -> None:
        healthy, study = (studies(SEED, *names, settings=SEVERE) for names in ((), ("cardiomegaly",)))
        widths = [np.ptp(np.nonzero((s.labels == 51).any(axis=(0, 1)))[0]) for s in (healthy, study)]
        assert widths[1] > 1.25 * widths[0]

    def test_calcium_is_brighter_than_blood(self, studies: MakeStudy) -> None:
        study = studies(SEED, "aortic_calcification", settings=SEVERE)
        assert np.quantile(study.hu[study.labels == 52], 0.98) > 200
