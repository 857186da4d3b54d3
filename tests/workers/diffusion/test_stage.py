"""The diffusion stage on a volume artefact, with converted weights."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pytest

from shared.artefacts import ArtefactKind
from shared.features import DIFFUSION_FEATURES
from shared.settings import Settings
from shared.stages import StageName
from tests.workers.diffusion.tiny import convert, make_classifier_state
from tests.workers.folder_context import FolderContext
from workers.diffusion.stage import make_stage
from workers.runtime.stage import StageContext
from workers.volume import Geometry, Volume, write_volume


def make_settings(weights: Path) -> Settings:
    return Settings.model_validate(
        {
            "database_url": "postgresql+psycopg2://nobody@localhost/none",
            "storage_endpoint": "localhost:1",
            "storage_access_key": "key",
            "storage_secret_key": "secret",
            "threads": 1,
            "weights_profile": "full",
            "weights_dir": weights,
        }
    )


@pytest.fixture
def study(tmp_path: Path) -> Path:
    hu = np.random.default_rng(0).integers(-1000, 500, (60, 40, 40)).astype(np.int16)
    geometry = Geometry((6.0, 8.0, 8.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    write_volume(Volume(hu, geometry), tmp_path / ArtefactKind.VOLUME)
    return tmp_path


class TestStage:
    def test_it_gives_the_features_that_are_known(self, study: Path) -> None:
        convert(study, make_classifier_state())
        stage = make_stage(make_settings(study / "weights"))
        assert stage is not None
        assert stage.name is StageName.DIFFUSION
        output = stage.run(cast("StageContext", FolderContext(study)))
        assert tuple(output.features) == DIFFUSION_FEATURES[:3]
        assert output.facts["name"] == "diffusion"
        assert output.facts["reconstruction"] == {"state": "off"}

    def test_without_weights_there_is_no_stage(self, tmp_path: Path) -> None:
        assert make_stage(make_settings(tmp_path)) is None
