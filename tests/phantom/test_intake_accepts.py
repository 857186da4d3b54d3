"""However severe a finding, intake still sees a chest: lungs long enough, and not cut off."""

from __future__ import annotations

from dataclasses import replace

import pytest

from phantom.study import FINDINGS, PhantomSettings
from tests.phantom.conftest import MakeStudy
from workers.intake.lungs import find_lung_problem, measure_lungs

SEVERE = replace(PhantomSettings.coarse(), severity=(1.0, 1.0))


@pytest.mark.parametrize("names", [(), *((name,) for name in FINDINGS)], ids=lambda names: "+".join(names) or "healthy")
class TestIntake:
    def test_it_finds_whole_lungs(self, studies: MakeStudy, names: tuple[str, ...]) -> None:
        study = studies(4, *names, settings=SEVERE)
        lungs = measure_lungs(study.hu, study.spacing_zyx_mm)
        assert find_lung_problem(lungs) is None
        assert not lungs.touches_bottom
        assert not lungs.touches_top
