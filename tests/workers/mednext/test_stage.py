"""The MedNeXt stage with the shipped demo weights, on phantoms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from model_weights.catalogue import find_installed
from phantom.study import PhantomSettings, make_study
from shared.artefacts import ArtefactKind
from shared.errors import StaleLease
from shared.features import MEDNEXT_LABELS
from shared.precision import Precision
from shared.settings import Settings, WeightsProfile
from shared.stages import StageName
from shared.states import StageState
from tests.hostile.packing import read
from tests.workers.folder_context import FolderContext
from workers.device import describe_kind
from workers.fusion.answers import NOT_FUSED, collect_answers
from workers.label_roles import UNFUSED
from workers.mednext.configuration import Architecture, Preprocessing
from workers.mednext.conversion import Configuration, publish_model
from workers.mednext.model import MedNeXt
from workers.mednext.stage import make_stage
from workers.model_host.precision import PrecisionMeasurement, record
from workers.runtime.stage import Stage, StageContext, StageOutput, StageRecord
from workers.volume import Geometry, Volume, write_volume

CHEST = Path(__file__).parents[3] / "deploy" / "demo" / "chest_covid_small.zip"


def make_settings(**changes: object) -> Settings:
    needed: dict[str, object] = {
        "database_url": "postgresql+psycopg2://nobody@localhost/none",
        "storage_endpoint": "localhost:1",
        "storage_access_key": "key",
        "storage_secret_key": "secret",
        "threads": 1,
    }
    return Settings.model_validate({**needed, **changes})


@pytest.fixture(scope="module")
def stage() -> Stage:
    stage = make_stage(make_settings())
    assert stage is not None
    return stage


def make_untrained_stage(folder: Path, *classes: str) -> Stage:
    """Return the stage with a small network that was never trained, for these classes."""
    torch.manual_seed(0)
    architecture = Architecture(len(classes), base_channels=8, depth_config=(1, 1), exp_r=(2, 2))
    preprocessing = Preprocessing(spacing_xyz_mm=(4.0, 4.0, 4.0), roi_xyz=(48, 48, 48))
    told = Configuration("m", "1", "here", "Apache-2.0", classes, architecture, preprocessing, {})
    publish_model(MedNeXt(architecture).eval(), told, WeightsProfile.FULL, folder / "weights" / "catalogue.toml")
    stage = make_stage(make_settings(weights_profile="full", weights_dir=folder / "weights"))
    assert stage is not None
    return stage


def run(stage: Stage, context: FolderContext) -> StageOutput:
    # The context has what this stage asks for; the protocol offers more to others.
    return stage.run(cast("StageContext", context))


def make_context(folder: Path, seed: int, *findings: str, is_wanted: bool = True) -> FolderContext:
    study = make_study(seed, findings, PhantomSettings.coarse())
    geometry = Geometry(study.spacing_zyx_mm, study.origin_lps_mm, (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    write_volume(Volume(study.hu, geometry), folder / ArtefactKind.VOLUME)
    return FolderContext(folder, is_wanted=is_wanted)


class TestStage:
    def test_it_gives_one_probability_for_every_class(self, stage: Stage, tmp_path: Path) -> None:
        output = run(stage, make_context(tmp_path, 11, "pleural_effusion"))
        entry = find_installed(make_settings(), StageName.MEDNEXT)
        assert entry is not None
        assert list(output.features) == [f"kolyan_{label}" for label in entry.labels]
        assert all(math.isfinite(value) and 0 <= value <= 1 for value in output.features.values())

    def test_its_facts_name_the_weights(self, stage: Stage, tmp_path: Path) -> None:
        facts = run(stage, make_context(tmp_path, 11)).facts
        entry = find_installed(make_settings(), StageName.MEDNEXT)
        assert entry is not None
        assert (facts["name"], facts["digest"], facts["weights_profile"]) == (entry.name, entry.digest, "demo")
        assert facts["thresholds"] == entry.thresholds
        assert facts["precision"] == "fp32"
        assert set(facts["timings"]) == {"prepare_s", "wait_s", "predict_s"}  # type: ignore[arg-type]  # a JSON value

    def test_the_same_study_gives_the_same_numbers(self, stage: Stage, tmp_path: Path) -> None:
        context = make_context(tmp_path, 11, "mass")
        assert run(stage, context).features == run(stage, context).features

    def test_it_tells_a_large_effusion_from_a_healthy_chest(self, stage: Stage, tmp_path: Path) -> None:
        # Averaged over five patients: single phantoms may be mild.
        def answer(*findings: str) -> float:
            runs = [run(stage, make_context(tmp_path, seed, *findings)) for seed in range(900, 905)]
            return float(np.mean([run.features["kolyan_pleural_effusion"] for run in runs]))

        assert answer("pleural_effusion") > answer() + 0.2

    def test_progress_is_told_between_preparation_and_prediction(self, stage: Stage, tmp_path: Path) -> None:
        context = make_context(tmp_path, 11)
        run(stage, context)
        assert context.progress == [pytest.approx(0.4)]

    def test_work_that_is_no_longer_wanted_ends_there(self, stage: Stage, tmp_path: Path) -> None:
        with pytest.raises(StaleLease):
            run(stage, make_context(tmp_path, 11, is_wanted=False))


class TestPrecision:
    def test_is_less_by_itself_once_it_was_measured_to_be_near_and_faster(self, tmp_path: Path) -> None:
        exact = make_untrained_stage(tmp_path, "mass")
        settings = make_settings(weights_profile="full", weights_dir=tmp_path / "weights")
        entry = find_installed(settings, StageName.MEDNEXT)
        assert entry is not None
        kind = describe_kind(torch.device("cpu"))
        record(entry, PrecisionMeasurement(entry.digest, kind, Precision.BF16, 8, 0.001, None, 0.5, 1.0))
        stage = make_stage(settings)
        assert stage is not None
        context = make_context(tmp_path, 11)
        outputs = [run(each, context) for each in (exact, stage)]
        assert [output.facts["precision"] for output in outputs] == ["fp32", "bf16"]
        assert outputs[0].features != outputs[1].features


class TestOtherClasses:
    def test_are_shown_and_what_the_weights_lack_is_declared(self, tmp_path: Path) -> None:
        output = run(make_untrained_stage(tmp_path, "mass", "stent"), make_context(tmp_path, 11))
        assert [*output.features] == ["kolyan_mass"]
        assert [*cast("Mapping[str, float]", output.facts[UNFUSED])] == ["stent"]
        (warning,) = output.warnings
        missing = [label for label in MEDNEXT_LABELS if label != "mass"]
        assert warning.code == "labels_missing"
        assert warning.facts == {"missing": missing, "not_fused": ["stent"], "unknown": ["stent"]}

    def test_none_of_which_is_weighed_leave_the_model_out_for_that_reason(self, tmp_path: Path) -> None:
        output = run(make_untrained_stage(tmp_path, "stent"), make_context(tmp_path, 11))
        record = StageRecord(StageName.MEDNEXT, StageState.SUCCEEDED, None, output.facts, (), output.features, None)
        missing = {each.model: each.reason for each in collect_answers({StageName.MEDNEXT: record}).missing}
        assert missing[StageName.MEDNEXT] == NOT_FUSED

    def test_the_shipped_ones_need_no_word(self, stage: Stage, tmp_path: Path) -> None:
        output = run(stage, make_context(tmp_path, 11))
        assert not output.warnings
        assert UNFUSED not in output.facts


class TestRealChest:
    def test_the_answer_is_finite_and_not_degenerate(self, stage: Stage, tmp_path: Path) -> None:
        volume = read(CHEST.read_bytes(), tmp_path).volume
        assert volume is not None
        write_volume(volume, tmp_path / ArtefactKind.VOLUME)
        values = np.asarray(list(run(stage, FolderContext(tmp_path)).features.values()))
        assert np.isfinite(values).all()
        assert values.std() > 0.02
        assert ((values > 1e-6) & (values < 1 - 1e-6)).all()


class TestMakeStage:
    def test_without_weights_there_is_no_stage(self) -> None:
        assert make_stage(make_settings(weights_profile="none")) is None
