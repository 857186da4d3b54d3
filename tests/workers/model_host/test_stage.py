"""Stages of models in one process: one answers at a time, others prepare meanwhile, equal preparations are shared."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from model_weights.catalogue import ModelEntry
from shared.artefacts import ArtefactKind
from shared.errors import Unanswerable
from shared.problems import ProblemCode
from shared.settings import WeightsProfile
from shared.stages import StageName
from tests.workers.folder_context import FolderContext
from workers.model_host.host import ModelHost
from workers.model_host.memory import MemoryAmount, MemoryBudget
from workers.model_stage import Answer, ModelStage, Question
from workers.runtime.stage import AdmittingStage, StageContext
from workers.volume import Geometry, Volume, write_volume


class StubModel:
    """Says when it prepares, and answers once it may."""

    def __init__(self, preprocessing: Hashable = "a way") -> None:
        self.preprocessing = preprocessing
        self.may_answer = threading.Event()
        self.has_prepared = threading.Event()
        self.is_answering = threading.Event()
        self.preparations = 0

    def predict_memory(self, shape_zyx: tuple[int, int, int]) -> MemoryAmount:
        return MemoryAmount(2 * shape_zyx[0] * shape_zyx[1] * shape_zyx[2])

    def prepare(self, volume: Volume) -> Tensor:
        self.preparations += 1
        self.has_prepared.set()
        return torch.from_numpy(volume.hu).float()

    def answer(self, prepared: Tensor, question: Question) -> Answer:
        self.is_answering.set()
        assert self.may_answer.wait(30)
        return Answer([float(prepared.mean())], facts={"voxels": list(question.shape_zyx)})


def make_entry(stage: StageName) -> ModelEntry:
    return ModelEntry(
        name="stub",
        stage=stage,
        version="1",
        weights_profile=WeightsProfile.DEMO,
        architecture={},
        preprocessing={},
        labels=("a",),
        thresholds={},
        files={},
        origin="here",
        licence="Apache-2.0",
        card=None,
    )


def make_stage(host: ModelHost, model: StubModel, stage: StageName = StageName.MEDNEXT) -> ModelStage:
    return ModelStage(make_entry(stage), model, lambda labels, values: dict(zip(labels, values, strict=True)), host)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def make_context(folder: Path, hu: int) -> StageContext:
    folder.mkdir(exist_ok=True)
    geometry = Geometry((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    write_volume(Volume(np.full((2, 3, 4), hu, np.int16), geometry), folder / ArtefactKind.VOLUME)
    return cast("StageContext", FolderContext(folder))


class TestOverlap:
    def test_the_next_study_is_prepared_while_this_one_is_answered(
        self, tmp_path: Path, pool: ThreadPoolExecutor
    ) -> None:
        host = ModelHost()
        first, second = StubModel("one way"), StubModel("another")
        running = pool.submit(make_stage(host, first).run, make_context(tmp_path / "a", 1))
        assert first.is_answering.wait(30)
        waiting = pool.submit(make_stage(host, second).run, make_context(tmp_path / "b", 2))
        assert second.has_prepared.wait(30)
        assert not second.is_answering.is_set()
        for model in (first, second):
            model.may_answer.set()
        assert [running.result(30).features, waiting.result(30).features] == [{"a": 1.0}, {"a": 2.0}]

    def test_waiting_for_the_turn_is_told_apart(self, tmp_path: Path) -> None:
        model = StubModel()
        model.may_answer.set()
        facts = make_stage(ModelHost(), model).run(make_context(tmp_path, 1)).facts
        assert list(cast("dict[str, float]", facts["timings"])) == ["prepare_s", "wait_s", "predict_s"]
        assert facts["voxels"] == [2, 3, 4]


class TestSharing:
    def test_two_models_of_one_preprocessing_prepare_a_volume_once(self, tmp_path: Path) -> None:
        host, models = ModelHost(), [StubModel(), StubModel()]
        stages = [
            make_stage(host, model, name)
            for model, name in zip(models, (StageName.CT_CLIP, StageName.SUPERVISED), strict=True)
        ]
        context = make_context(tmp_path, 3)
        for model, stage in zip(models, stages, strict=True):
            model.may_answer.set()
            assert stage.run(context).features == {"a": 3.0}
        assert [model.preparations for model in models] == [1, 0]
        assert host.preparations.count() == 0


class TestAdmission:
    def test_the_runtime_can_ask_for_it(self) -> None:
        stage = make_stage(ModelHost(), StubModel())
        assert isinstance(stage, AdmittingStage)
        with stage.admit((10, 10, 10)) as is_admitted:
            assert is_admitted
        host = ModelHost()
        host.memory = MemoryBudget(read_free=lambda: MemoryAmount(0), read_total=lambda: MemoryAmount(2**60))
        with make_stage(host, StubModel()).admit((10, 10, 10)) as is_admitted:
            assert not is_admitted

    def test_what_can_never_fit_is_told_at_once_instead_of_waiting(self, tmp_path: Path) -> None:
        host, model = ModelHost(), StubModel()
        host.memory = MemoryBudget(read_free=lambda: MemoryAmount(0), read_total=lambda: MemoryAmount(1))
        stage = make_stage(host, model)
        with stage.admit((2, 3, 4)) as is_admitted:
            assert is_admitted
        with pytest.raises(Unanswerable, match=r"needs .* of main memory") as caught:
            stage.run(make_context(tmp_path, 1))
        assert caught.value.problem.code is ProblemCode.MEMORY_INSUFFICIENT
        assert caught.value.problem.facts["available_bytes"] == 1
        assert model.preparations == 0
