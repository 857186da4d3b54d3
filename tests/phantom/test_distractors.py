"""Look-alikes: each changes the study where it should, names itself, and leaves findings and other studies alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phantom.anatomy.chest import Concern
from phantom.anatomy.lungs import LOBES
from phantom.anatomy.plan import AnatomyRanges, draw_plan
from phantom.distractors.registry import DISTRACTORS, REGISTRY
from phantom.fields import make_generator
from phantom.gallery import SHARE, find_patient
from phantom.study import PhantomSettings, Study, make_study

COARSE = PhantomSettings.coarse()
EVERY = replace(COARSE, distractor_share=1.0)


def make_pair(name: str) -> tuple[Study, Study]:
    """Return the study of a patient without and with one look-alike."""
    seed = find_patient(name)
    return make_study(seed, (), COARSE), make_study(seed, (), replace(COARSE, distractor_share=SHARE))


class TestTheDraw:
    def test_asks_for_none_unless_told_to(self) -> None:
        assert make_study(3, (), COARSE).distractors == ()

    def test_of_all_gives_every_one_that_suits(self) -> None:
        men = [seed for seed in range(8) if make_study(seed, (), EVERY).is_male]
        assert set(make_study(men[0], (), EVERY).distractors) == set(DISTRACTORS)
        (woman, *_) = [study for study in (make_study(seed, (), EVERY) for seed in range(8)) if not study.is_male]
        assert set(woman.distractors) == set(DISTRACTORS) - {"gynaecomastia"}

    def test_a_share_beyond_one_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"distractor_share is 1\.5"):
            replace(COARSE, distractor_share=1.5)


class TestALookAlike:
    @pytest.mark.parametrize("name", DISTRACTORS)
    def test_changes_the_study_and_names_itself(self, name: str) -> None:
        plain, other = make_pair(name)
        assert other.distractors == (name,)
        assert np.abs(other.hu.astype(int) - plain.hu).max() > 100
        assert other.findings == ()

    def test_azygos_lobe_lies_in_the_right_apex(self) -> None:
        plain, other = make_pair("azygos_lobe")
        changed = np.argwhere(np.abs(other.hu.astype(int) - plain.hu) > 150)
        z, _, x = (plain.origin_lps_mm[2], 0, plain.origin_lps_mm[0]) + changed.mean(axis=0) * plain.spacing_zyx_mm
        assert x < 0
        assert z > 120
        assert np.isin(plain.labels[tuple(changed.T)], LOBES).mean() > 0.5

    def test_metal_is_as_dense_as_metal(self) -> None:
        plain, other = make_pair("metal")
        assert other.hu.max() > plain.hu.max() + 300

    @pytest.mark.parametrize("name", [name for name in DISTRACTORS if REGISTRY[name].is_artefact])
    def test_of_the_scan_leaves_the_organs_where_they_were(self, name: str) -> None:
        plain, other = make_pair(name)
        assert np.array_equal(plain.labels, other.labels)

    def test_leaves_the_place_of_a_finding_as_it_was(self) -> None:
        seed = find_patient("beam_hardening")
        alone = make_study(seed, ("pleural_effusion",), COARSE)
        beside = make_study(seed, ("pleural_effusion",), replace(COARSE, distractor_share=SHARE))
        assert alone.findings == beside.findings


class TestOtherPatients:
    def test_are_as_their_ranges_say(self) -> None:
        ranges = AnatomyRanges(height=0.9, age_years=(70, 71), kyphosis_mm=(20.0, 20.0))
        plan = draw_plan(make_generator(5, Concern.PLAN), 0.0, ranges)
        usual = draw_plan(make_generator(5, Concern.PLAN), 0.0)
        assert (plan.age_years, plan.kyphosis_mm) == (70, 20.0)
        assert plan.scale_xyz[2] < usual.scale_xyz[2]
        assert plan.scale_xyz[:2] == usual.scale_xyz[:2]
