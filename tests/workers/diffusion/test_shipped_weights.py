"""The demo detector as it is shipped: it loads, scores, maps and renders a study, and says what it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from model_weights.catalogue import CATALOGUE_FILE, ModelEntry, load_catalogue
from phantom.study import PhantomSettings, make_study
from shared.artefacts import ArtefactKind
from shared.features import DIFFUSION_FEATURES
from shared.json_values import JsonObject
from shared.settings import Settings, WeightsProfile
from shared.stages import StageName
from tests.workers.folder_context import FolderContext
from training.phantoms import make_volume
from workers.diffusion.anomaly_map import AnomalyMapFile
from workers.diffusion.stage import make_stage
from workers.runtime.stage import Stage, StageContext, StageOutput
from workers.volume import write_volume

SEED = 2_500_000
"""A seed of no training."""

ASKED: JsonObject = {"reconstruction": {"when": "always", "choice": "most_suspicious", "slices": 2}}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    threads = torch.get_num_threads()
    settings = Settings.model_validate(
        {
            "database_url": "postgresql+psycopg2://nobody@localhost/none",
            "storage_endpoint": "localhost:1",
            "storage_access_key": "key",
            "storage_secret_key": "secret",
            "threads": 1,
        }
    )
    made = make_stage(settings)
    assert made is not None
    yield made
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def entry() -> ModelEntry:
    shipped = [each for each in load_catalogue() if each.weights_profile is WeightsProfile.DEMO]
    return next(each for each in shipped if each.stage is StageName.DIFFUSION)


def put_study(folder: Path, *findings: str) -> Path:
    folder.mkdir()
    write_volume(make_volume(make_study(SEED, findings, PhantomSettings.coarse())), folder / ArtefactKind.VOLUME)
    return folder


def run(stage: Stage, folder: Path, policy: JsonObject) -> StageOutput:
    return stage.run(cast("StageContext", FolderContext(folder, policy=policy)))


class TestShippedDetector:
    def test_a_study_is_scored_mapped_and_rendered_alike_each_time(self, stage: Stage, tmp_path: Path) -> None:
        study = put_study(tmp_path / "study", "pleural_effusion")
        first = run(stage, study, ASKED)
        assert tuple(first.features) == DIFFUSION_FEATURES
        written = {artefact.kind: artefact.path for artefact in first.artefacts}
        assert {ArtefactKind.ANOMALY_MAP, ArtefactKind.ANOMALY_MAP_PREVIEW, ArtefactKind.ANOMALY_MAP_NIFTI} <= set(
            written
        )
        opened = AnomalyMapFile(written[ArtefactKind.ANOMALY_MAP])
        looked_at = np.isfinite(opened.read_slices(0, opened.shape[0])).any(axis=(1, 2))
        assert 2 <= looked_at.sum() <= 6
        bits = written[ArtefactKind.ANOMALY_MAP].read_bytes()
        again = run(stage, study, ASKED)
        assert again.features == first.features
        assert written[ArtefactKind.ANOMALY_MAP].read_bytes() == bits

    def test_an_effusion_makes_a_slice_more_suspicious(self, stage: Stage, tmp_path: Path) -> None:
        largest = DIFFUSION_FEATURES[1]
        ill = run(stage, put_study(tmp_path / "ill", "pleural_effusion"), {})
        well = run(stage, put_study(tmp_path / "well"), {})
        facts: Any = ill.facts["reconstruction"]
        assert facts == {"state": "off"}
        assert ill.features[largest] > well.features[largest]

    def test_its_card_says_that_it_has_seen_phantoms_only(self, entry: ModelEntry) -> None:
        card = (CATALOGUE_FILE.parent / str(entry.card)).read_text(encoding="utf-8")
        assert "phantoms only, not for clinical use" in card
        assert "phantoms" in entry.origin
