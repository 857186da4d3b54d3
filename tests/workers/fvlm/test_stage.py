"""The fVLM stage with converted weights, on a phantom and its masks."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from shared.errors import Defect, InputProblem, StaleLease
from shared.features import FVLM_ITEMS, FVLM_LABELS, make_feature_name
from shared.precision import PrecisionChoice
from shared.problems import ProblemCode
from shared.settings import Settings
from shared.stages import StageName
from tests.workers.folder_context import FolderContext
from tests.workers.fvlm.studies import MaskedStudy, make_masked_study
from tests.workers.fvlm.tiny import DOCUMENT, PREPROCESSING, convert, get_entry, make_state
from workers.command.models import app
from workers.fvlm.organs import Organ
from workers.fvlm.stage import make_stage
from workers.runtime.stage import AdmittingStage, Stage, StageContext, StageOutput
from workers.volume import Geometry, Volume


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


@pytest.fixture(scope="module")
def study() -> MaskedStudy:
    return make_masked_study(5, ["pleural_effusion"])


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    assert convert(folder, make_state()).exit_code == 0
    return folder


@pytest.fixture(scope="module")
def stage(installed: Path) -> Stage:
    stage = make_stage(make_settings(installed / "weights"))
    assert stage is not None
    return stage


def run(stage: Stage, context: FolderContext) -> StageOutput:
    # The context has what this stage asks for; the protocol offers more to others.
    return stage.run(cast("StageContext", context))


def list_features(organ: str) -> set[str]:
    return {make_feature_name(StageName.FVLM, item) for item in FVLM_ITEMS[organ]}


class TestStage:
    def test_it_gives_one_feature_for_every_item(self, stage: Stage, study: MaskedStudy, tmp_path: Path) -> None:
        output = run(stage, study.write(tmp_path))
        assert output.features.keys() == {make_feature_name(StageName.FVLM, label) for label in FVLM_LABELS}
        assert all(0 < value < 1 for value in output.features.values())
        assert not output.warnings

    def test_its_facts_name_the_weights_and_what_each_pass_saw(
        self, stage: Stage, study: MaskedStudy, tmp_path: Path, installed: Path
    ) -> None:
        facts = run(stage, study.write(tmp_path)).facts
        assert facts["digest"] == get_entry(installed).digest
        assert facts["geometry"] == "public"
        (window,) = cast("list[dict[str, Any]]", facts["windows"])  # one pass for all three organs
        assert window["organs"].keys() == {"lung", "heart", "aorta"}
        assert window["shape_zyx"] == [12, 16, 16] or window["tokens"] == math.prod(window["shape_zyx"]) // (4 * 4 * 8)
        assert all(0 < count <= window["tokens"] for count in window["organs"].values())
        json.dumps(dict(facts), allow_nan=False)

    @pytest.mark.parametrize("missing", [{Organ.AORTA}, {Organ.LUNG, Organ.HEART}])
    def test_an_organ_that_is_missing_leaves_its_items_unknown_with_a_warning(
        self, stage: Stage, study: MaskedStudy, tmp_path: Path, missing: set[Organ]
    ) -> None:
        whole = run(stage, study.write(tmp_path / "whole")).features
        output = run(stage, study.leave_out(missing).write(tmp_path / "part"))
        unknown = set().union(*(list_features(organ) for organ in missing))
        assert {name for name, value in output.features.items() if math.isnan(value)} == unknown
        assert output.features.keys() == whole.keys()
        (warning,) = output.warnings
        assert warning.code == "organs_missing"
        assert set(cast("list[str]", warning.facts["organs"])) == missing
        assert len(cast("list[str]", warning.facts["findings"])) == len(unknown)

    @pytest.mark.parametrize("left", [set(), {Organ.ESOPHAGUS}])
    def test_a_study_with_no_organ_that_is_asked_about_is_refused_and_no_defect(
        self, stage: Stage, study: MaskedStudy, tmp_path: Path, left: set[Organ]
    ) -> None:
        with pytest.raises(InputProblem) as refusal:
            run(stage, study.leave_out(set(Organ) - left).write(tmp_path))
        assert refusal.value.problem.code is ProblemCode.NO_LUNGS_FOUND

    def test_a_volume_that_lies_otherwise_gives_the_same_answer(
        self, stage: Stage, study: MaskedStudy, tmp_path: Path
    ) -> None:
        expected = run(stage, study.write(tmp_path / "as made"))
        volume = study.volume
        turned = Geometry(
            volume.geometry.spacing_zyx_mm, volume.geometry.origin_lps_mm, (-1.0, 0.0, 0.0), (0.0, -1.0, 0.0)
        )
        hu, labels = (volume.hu[:, ::-1, ::-1].copy(), study.labels[:, ::-1, ::-1].copy())
        found = run(stage, MaskedStudy(Volume(hu, turned), labels).write(tmp_path / "turned"))
        assert found.features == pytest.approx(expected.features, abs=1e-6)

    def test_masks_of_another_grid_are_a_defect(self, stage: Stage, study: MaskedStudy, tmp_path: Path) -> None:
        with pytest.raises(Defect, match="grid of the volume"):
            run(stage, MaskedStudy(study.volume, study.labels[:-1]).write(tmp_path))

    def test_work_that_is_no_longer_wanted_ends_before_the_network_runs(
        self, stage: Stage, study: MaskedStudy, tmp_path: Path
    ) -> None:
        context = study.write(tmp_path)
        context.is_wanted = False
        with pytest.raises(StaleLease):
            run(stage, context)
        assert len(context.progress) == 1

    def test_it_asks_for_memory_first(self, stage: Stage) -> None:
        assert isinstance(stage, AdmittingStage)
        with stage.admit((10, 10, 10)) as is_admitted:
            assert is_admitted


class TestGeometries:
    def test_the_product_gives_each_organ_a_pass_and_other_numbers(
        self, stage: Stage, study: MaskedStudy, tmp_path: Path
    ) -> None:
        asked = {**DOCUMENT, "preprocessing": {**PREPROCESSING, "geometry": "product"}}
        assert convert(tmp_path, make_state(), asked).exit_code == 0
        product = make_stage(make_settings(tmp_path / "weights"))
        assert product is not None
        context = study.write(tmp_path / "study")
        output = run(product, context)
        windows = cast("list[dict[str, Any]]", output.facts["windows"])
        assert [[*window["organs"]] for window in windows] == [["lung"], ["heart"], ["aorta"]]
        assert output.features != pytest.approx(run(stage, context).features, abs=1e-4)


class TestItems:
    def test_labels_that_the_fusion_does_not_weigh_are_shown_and_a_missing_one_of_them_is_left_out(
        self, study: MaskedStudy, tmp_path: Path
    ) -> None:
        items = [
            {"finding": finding, "organ": organ, "negative": f"No {finding}.", "positive": f"{finding}."}
            for finding, organ in (("Cardiomegaly", "heart"), ("Hiatal hernia", "esophagus"), ("Goitre", "aorta"))
        ]
        (tmp_path / "items.json").write_text(json.dumps({"items": items}))
        assert convert(tmp_path, make_state(), {**DOCUMENT, "items": "items.json"}).exit_code == 0
        stage = make_stage(make_settings(tmp_path / "weights"))
        assert stage is not None
        output = run(stage, study.leave_out({Organ.AORTA}).write(tmp_path / "study"))
        assert output.features.keys() == {"okhr_Cardiomegaly"}
        assert cast("dict[str, float]", output.facts["unfused"]).keys() == {"Hiatal hernia"}
        assert [warning.code for warning in output.warnings] == ["labels_missing", "organs_missing"]


class TestMakeStage:
    def test_without_weights_there_is_no_stage(self, tmp_path: Path) -> None:
        assert make_stage(make_settings(tmp_path)) is None

    def test_it_runs_in_float32_where_the_others_run_in_less(
        self, installed: Path, study: MaskedStudy, tmp_path: Path, stage: Stage
    ) -> None:
        asked = make_settings(installed / "weights").model_copy(update={"precision": PrecisionChoice.BF16})
        found = make_stage(asked)
        assert found is not None
        context = study.write(tmp_path)
        output = run(found, context)
        assert output.features == run(stage, context).features
        assert output.facts["precision"] == "fp32"

    def test_its_precision_cannot_be_measured(self, installed: Path) -> None:
        where = ["--profile", "full", "--weights-dir", str(installed / "weights")]
        result = CliRunner().invoke(app, ["precision", "fvlm", *where])
        assert result.exit_code == 2
        assert "the precision of fvlm cannot be chosen" in result.stderr

    def test_weights_that_answer_otherwise_than_known_are_not_served(self, tmp_path: Path) -> None:
        convert(tmp_path, make_state())
        catalogue = tmp_path / "weights" / "catalogue.toml"
        known = get_entry(tmp_path).get_file("known_answer")
        other = tmp_path / "other"
        other.mkdir()
        convert(other, make_state(seed=1))
        foreign = get_entry(other).get_file("known_answer")
        known.path.write_bytes(foreign.path.read_bytes())
        catalogue.write_text(catalogue.read_text().replace(known.sha256, foreign.sha256))
        with pytest.raises(Defect, match="gives another answer than its known one"):
            make_stage(make_settings(tmp_path / "weights"))

    def test_a_worker_with_stored_latents_does_without_transformers(self, installed: Path) -> None:
        asked = (
            "import sys, pathlib, torch; from model_weights.catalogue import load_catalogue\n"
            "from workers.fvlm.predictor import Predictor\n"
            f"(entry,) = load_catalogue(pathlib.Path({str(installed / 'weights' / 'catalogue.toml')!r}))\n"
            "Predictor(entry, torch.device('cpu'))\n"
            "sys.exit('transformers' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", asked], check=False, timeout=120)
        assert done.returncode == 0
