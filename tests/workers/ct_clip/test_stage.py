"""The stages of CT-CLIP and of the classifier on it, with converted weights, on a phantom."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import nibabel
import numpy as np
import pytest

from model_weights.catalogue import find_installed
from model_weights.policies import FindingText, Policy
from phantom.study import PhantomSettings, make_study
from shared.artefacts import ArtefactKind
from shared.errors import Defect, StaleLease
from shared.features import CT_CLIP_LABELS, make_feature_name
from shared.settings import Settings
from shared.stages import StageName
from tests.workers.ct_clip.converting import DOCUMENT, convert
from tests.workers.ct_clip.tiny import make_state
from tests.workers.folder_context import FolderContext
from tests.workers.supervised.tiny import make_classifier_state
from workers.runtime.stage import Stage, StageContext
from workers.supervised.configuration import HeadKind
from workers.volume import Geometry, Volume, write_volume

LABELS = {StageName.CT_CLIP: list(CT_CLIP_LABELS), StageName.SUPERVISED: ["cancer", "covid", "fibrosis"]}
MODELS = list(LABELS)


def make_settings(weights: Path) -> Settings:
    return Settings.model_validate(
        {
            "database_url": "postgresql+psycopg2://nobody@localhost/none",
            "storage_endpoint": "localhost:1",
            "storage_access_key": "key",
            "storage_secret_key": "secret",
            "cache_dir": weights.parent / "cache",
            "threads": 1,
            "weights_profile": "full",
            "weights_dir": weights,
        }
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    study = make_study(5, ["pleural_effusion"], PhantomSettings.coarse())
    geometry = Geometry(study.spacing_zyx_mm, study.origin_lps_mm, (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    write_volume(Volume(study.hu, geometry), folder / ArtefactKind.VOLUME)
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    document: dict[str, Any] = {
        **DOCUMENT,
        "preprocessing": {"variant": "public", "shape": [12, 16, 16], "spacing_mm": [25, 20, 20]},
    }
    convert(folder, make_state(), document)
    del document["thresholds"]
    labelled = {**document, "labels": LABELS[StageName.SUPERVISED]}
    convert(folder, make_classifier_state(HeadKind.LAYER_NORM), labelled, "supervised")
    return folder / "weights"


def make_stage(name: StageName, weights: Path) -> Stage | None:
    return cast("Stage | None", import_module(f"workers.{name}.stage").make_stage(make_settings(weights)))


@pytest.fixture(params=MODELS)
def stage(request: pytest.FixtureRequest, installed: Path) -> Stage:
    stage = make_stage(request.param, installed)
    assert stage is not None
    return stage


class TestStage:
    def test_it_gives_one_feature_for_every_label(self, stage: Stage, study: Path) -> None:
        output = stage.run(cast("StageContext", FolderContext(study)))
        assert list(output.features) == [make_feature_name(stage.name, label) for label in LABELS[stage.name]]
        assert all(0 < value < 1 for value in output.features.values())

    def test_its_facts_name_the_weights(self, stage: Stage, study: Path, installed: Path) -> None:
        facts = stage.run(cast("StageContext", FolderContext(study))).facts
        entry = find_installed(make_settings(installed), stage.name)
        assert entry is not None
        assert (facts["name"], facts["digest"], facts["weights_profile"]) == (entry.name, entry.digest, "full")

    def test_findings_of_the_site_stand_in_the_facts_of_the_stage_that_has_texts(
        self, stage: Stage, study: Path
    ) -> None:
        texts = (FindingText("Stent"), FindingText("long", " ".join(["lung"] * 20)))
        policy = Policy("own", "1", 0.5, 1, finding_texts=texts).to_document()
        output = stage.run(cast("StageContext", FolderContext(study, policy=policy)))
        plain = stage.run(cast("StageContext", FolderContext(study)))
        assert output.features == plain.features
        if stage.name is StageName.SUPERVISED:
            assert "site_findings" not in output.facts
        else:
            (found,) = cast("list[dict[str, Any]]", output.facts["site_findings"])
            assert (found["name"], found["present"], found["absent"]) == (
                "Stent",
                "Stent is present.",
                "Stent is not present.",
            )
            assert 0 < found["probability"] < 1
            assert [warning.code for warning in output.warnings] == ["site_findings_unanswered"]

    def test_it_leaves_a_map_of_its_top_findings_in_the_patients_space(self, stage: Stage, study: Path) -> None:
        output = stage.run(cast("StageContext", FolderContext(study)))
        (artefact,) = output.artefacts
        assert artefact.kind == f"{stage.name}_relevance"
        assert artefact.media_type == "application/gzip"
        maps = nibabel.Nifti1Image.from_filename(artefact.path)
        relevance = cast("dict[str, Any]", output.facts["relevance"])
        assert relevance["reference"] == "own_columns"
        assert maps.shape == (4, 4, 6, len(relevance["findings"]))
        for told in relevance["findings"]:
            of_map = np.asarray(maps.dataobj)[..., told["volume"]].sum()
            assert of_map == pytest.approx(told["log_odds"]["of_map"], abs=1e-4)
            assert output.features[make_feature_name(stage.name, told["label"])] == told["probability"]
        assert json.loads(maps.header.extensions[0].get_content()) == relevance

    def test_work_that_is_no_longer_wanted_ends_before_the_network_runs(self, stage: Stage, study: Path) -> None:
        context = FolderContext(study, is_wanted=False)
        with pytest.raises(StaleLease):
            stage.run(cast("StageContext", context))
        assert len(context.progress) == 1


class TestMakeStage:
    @pytest.mark.parametrize("name", MODELS)
    def test_without_weights_there_is_no_stage(self, name: StageName, tmp_path: Path) -> None:
        assert make_stage(name, tmp_path) is None

    def test_changed_weights_are_not_served(self, tmp_path: Path) -> None:
        convert(tmp_path, make_state())
        entry = find_installed(make_settings(tmp_path / "weights"), StageName.CT_CLIP)
        assert entry is not None
        path = entry.get_file("weights").path
        path.write_bytes(path.read_bytes()[:-1] + b"\1")
        with pytest.raises(Defect, match="not the one that the catalogue pins"):
            make_stage(StageName.CT_CLIP, tmp_path / "weights")

    @pytest.mark.parametrize("name", MODELS)
    def test_a_worker_with_stored_latents_does_without_transformers(self, name: StageName, installed: Path) -> None:
        asked = (
            "import sys, pathlib, torch; from model_weights.catalogue import load_catalogue\n"
            f"from workers.{name}.predictor import Predictor\n"
            f"entries = load_catalogue(pathlib.Path({str(installed / 'catalogue.toml')!r}))\n"
            f"Predictor(next(entry for entry in entries if entry.stage == {str(name)!r}), torch.device('cpu'))\n"
            "sys.exit('transformers' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", asked], check=False, timeout=120)
        assert done.returncode == 0
