"""The segmentation stage with a network of seeded weights: what it keeps, what it says, and how its work ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import pytest

from shared.artefacts import ArtefactKind
from shared.errors import Defect, StaleLease, Unanswerable
from shared.json_values import JsonObject
from shared.settings import Settings
from tests.workers.folder_context import FolderContext
from tests.workers.segmentation.making import make_volume, publish_tiny
from workers.model_host.host import ModelHost
from workers.model_host.memory import MemoryAmount, MemoryBudget
from workers.runtime.stage import AdmittingStage, StageContext, StageOutput
from workers.segmentation.labels import TOTAL_NAMES, TOTAL_NUMBERS
from workers.segmentation.predictor import Predictor
from workers.segmentation.stage import SegmentationStage, make_stage
from workers.volume import Volume, write_volume
from workers.volume.label_map import LabelMapFile, Labels


def make_settings(weights_dir: Path, **changes: object) -> Settings:
    needed: dict[str, object] = {
        "database_url": "postgresql+psycopg2://nobody@localhost/none",
        "storage_endpoint": "localhost:1",
        "storage_access_key": "key",
        "storage_secret_key": "secret",
        "threads": 1,
        "weights_profile": "full",
        "weights_dir": str(weights_dir),
    }
    return Settings.model_validate({**needed, **changes})


@pytest.fixture(scope="module")
def weights_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    publish_tiny(folder)
    return folder


@pytest.fixture(scope="module")
def stage(weights_dir: Path) -> SegmentationStage:
    stage = make_stage(make_settings(weights_dir))
    assert isinstance(stage, SegmentationStage)
    return stage


def run(stage: SegmentationStage, context: FolderContext) -> StageOutput:
    # The context has what this stage asks for; the protocol offers more to others.
    return stage.run(cast("StageContext", context))


def make_context(folder: Path, volume: Volume | None = None, **more: Any) -> FolderContext:  # noqa: ANN401  # any field
    write_volume(volume or make_volume(), folder / ArtefactKind.VOLUME)
    return FolderContext(folder, **more)


class FixedPredictor:
    """Gives the same label everywhere in the lowest slices of the network's grid, or does what it is told."""

    def __init__(self, number: int, slices: int, raises: BaseException | None = None) -> None:
        self._number, self._slices, self._raises = number, slices, raises

    def predict_memory(self, shape_zyx: tuple[int, int, int]) -> MemoryAmount:
        return MemoryAmount(shape_zyx[0])

    def label(self, coarse: np.ndarray, report: object) -> Labels:
        if self._raises is not None:
            raise self._raises
        labels = np.zeros(coarse.shape, np.uint8)
        labels[: self._slices] = self._number
        return labels


def make_fixed(stage: SegmentationStage, predictor: FixedPredictor, host: ModelHost | None = None) -> SegmentationStage:
    return SegmentationStage(stage._entry, cast("Predictor", predictor), host or ModelHost())


class TestMasks:
    def test_the_label_map_lies_on_the_volume_and_names_who_made_it(
        self, stage: SegmentationStage, tmp_path: Path
    ) -> None:
        volume = make_volume()
        output = run(stage, make_context(tmp_path, volume))
        masks = next(each for each in output.artefacts if each.kind is ArtefactKind.MASKS)
        file = LabelMapFile(masks.path)
        assert (file.shape, file.geometry) == (volume.hu.shape, volume.geometry)
        assert file.read().max() <= len(TOTAL_NAMES)
        assert masks.facts["content_sha256"] == file.content_digest
        assert (masks.facts["segmenter"], masks.facts["weights"]) == (file.facts["segmenter"], file.facts["weights"])
        assert file.facts["segmenter"]["version"] == "2.18.0"
        assert file.facts["weights"]["digest"] == output.facts["digest"]

    def test_the_same_volume_gives_the_same_masks(self, stage: SegmentationStage, tmp_path: Path) -> None:
        digests = [run(stage, make_context(tmp_path)).artefacts[0].facts["content_sha256"] for _ in range(2)]
        assert digests[0] == digests[1]

    def test_no_process_is_left_and_nothing_but_results_is_written(
        self, stage: SegmentationStage, tmp_path: Path
    ) -> None:
        before = {child.pid for child in psutil.Process().children(recursive=True)}
        output = run(stage, make_context(tmp_path))
        assert {child.pid for child in psutil.Process().children(recursive=True)} <= before
        kept = {Path(artefact.path).name for artefact in output.artefacts}
        assert {path.name for path in tmp_path.iterdir()} == {*kept, ArtefactKind.VOLUME}


class TestFacts:
    def test_organs_are_present_truncated_or_absent(self, stage: SegmentationStage, tmp_path: Path) -> None:
        output = run(make_fixed(stage, FixedPredictor(TOTAL_NUMBERS["heart"], 5)), make_context(tmp_path))
        facts = cast("dict[str, Any]", output.facts)
        assert list(facts["organs"]) == ["heart"]
        assert facts["truncated"] == ["heart"]
        assert len(facts["absent"]) == len(TOTAL_NAMES) - 1
        assert set(output.features) == {"organ_heart_mean_hu", "organ_heart_std_hu"}
        assert set(facts["timings"]) == {"prepare_s", "wait_s", "predict_s", "refine_s", "measure_s", "render_s"}

    def test_progress_is_told_and_work_that_is_no_longer_wanted_ends(
        self, stage: SegmentationStage, tmp_path: Path
    ) -> None:
        context = make_context(tmp_path)
        run(stage, context)
        assert context.progress[-1] == pytest.approx(0.9)
        with pytest.raises(StaleLease):
            run(stage, make_context(tmp_path, is_wanted=False))
        run(stage, make_context(tmp_path))  # the turn on the device was given back


class TestLungs:
    @pytest.mark.parametrize(
        ("number", "slices", "problem"),
        [(TOTAL_NUMBERS["heart"], 99, "no_lungs_found"), (10, 20, "insufficient_coverage")],
    )
    def test_too_little_of_them_warns_or_rejects_as_the_policy_says(
        self, stage: SegmentationStage, tmp_path: Path, number: int, slices: int, problem: str
    ) -> None:
        fixed = make_fixed(stage, FixedPredictor(number, slices))
        warned = run(fixed, make_context(tmp_path))
        assert warned.rejection is None
        assert [warning.code for warning in warned.warnings] == ["lungs_short_in_masks"]
        assert warned.warnings[0].facts["problem"] == problem
        assert warned.warnings[0].facts["needed_mm"] == 145.0
        policy: JsonObject = {"lung_check": "reject"}
        rejected = run(fixed, make_context(tmp_path, policy=policy))
        assert rejected.rejection is not None
        assert rejected.rejection.code == problem
        assert rejected.facts["lungs"] == warned.facts["lungs"]

    def test_enough_of_them_says_nothing(self, stage: SegmentationStage, tmp_path: Path) -> None:
        volume = make_volume((40, 52, 50))
        fixed = make_fixed(stage, FixedPredictor(TOTAL_NUMBERS["lung_upper_lobe_left"], 99))
        output = run(fixed, make_context(tmp_path, volume, policy={"lung_check": "reject"}))
        assert (output.rejection, list(output.warnings)) == (None, [])


class TestContainment:
    def test_a_library_that_wants_to_end_the_process_is_a_defect(
        self, stage: SegmentationStage, tmp_path: Path
    ) -> None:
        fixed = make_fixed(stage, FixedPredictor(0, 0, SystemExit("no licence")))
        with pytest.raises(Defect, match="no licence"):
            run(fixed, make_context(tmp_path))

    def test_memory_is_set_aside_before_the_work(self, stage: SegmentationStage) -> None:
        assert isinstance(stage, AdmittingStage)
        with stage.admit((10, 20, 20)) as is_admitted:
            assert is_admitted

    def test_a_volume_that_fits_nowhere_ends_at_once(self, stage: SegmentationStage, tmp_path: Path) -> None:
        host = ModelHost()
        host.memory = MemoryBudget(read_total=lambda: MemoryAmount(1))
        starved = make_fixed(stage, FixedPredictor(0, 0), host)
        with starved.admit((10, 20, 20)) as is_admitted:
            assert is_admitted
        with pytest.raises(Unanswerable, match="of main memory"):
            run(starved, make_context(tmp_path))

    def test_without_weights_there_is_no_stage(self, tmp_path: Path) -> None:
        assert make_stage(make_settings(tmp_path, weights_profile="none")) is None
