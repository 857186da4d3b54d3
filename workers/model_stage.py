"""The stage of a model: volume (and masks) in, features out. The same for all that give one probability a label."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from model_weights.catalogue import ModelEntry, find_installed
from model_weights.loading import verified_by_the_end
from shared.artefacts import ArtefactKind
from shared.errors import Defect
from shared.json_values import JsonObject
from shared.precision import Precision
from shared.settings import Settings
from shared.stages import StageName
from workers.device import ComputeMode, choose_device, describe_kind
from workers.model_host.compilation import told_compilation
from workers.model_host.device_faults import translated_device_faults
from workers.model_host.host import ModelHost, get_host
from workers.model_host.measuring import told_loading, told_prediction
from workers.model_host.memory import MemoryAmount
from workers.model_host.precision import choose_precision
from workers.renderings import RenderedStudy
from workers.runtime.stage import ProducedArtefact, StageContext, StageOutput, StageWarning
from workers.volume import Geometry, Volume, VolumeFile
from workers.volume.label_map import LabelMapFile, Labels

_Prepared = TypeVar("_Prepared")

NameFeatures = Callable[[Sequence[str], Sequence[float]], Mapping[str, float]]

_PREPARED = 0.4
"""Share of the work that is done once the volume is prepared."""


@dataclass(frozen=True)
class Question:
    """What a model is asked beside the prepared volume.

    `geometry` and `shape_zyx` are the volume artefact's, `policy` is the job's; artefacts are written into `scratch`.
    """

    geometry: Geometry
    shape_zyx: tuple[int, int, int]
    policy: JsonObject
    scratch: Path


@dataclass(frozen=True)
class Answer:
    """What a model says of one study.

    `probabilities` are one for each label of its entry, in the entry's order; `facts` join those of the run. `render`
    makes further artefacts once the next study has the device.
    """

    probabilities: Sequence[float]
    artefacts: Sequence[ProducedArtefact] = ()
    facts: JsonObject = field(default_factory=dict)
    warnings: Sequence[StageWarning] = ()
    render: Callable[[RenderedStudy], Sequence[ProducedArtefact]] | None = None


class Model(Protocol):
    """A loaded model, ready to answer. Safe to use from several threads, but only one at a time answers."""

    @property
    def preprocessing(self) -> Hashable:
        """What `prepare` does; two models for which it is equal are given the same prepared volume."""

    def predict_memory(self, shape_zyx: tuple[int, int, int]) -> MemoryAmount:
        """Return the most that preparing and answering a volume of this shape takes beside the loaded model."""

    def prepare(self, volume: Volume) -> Tensor:
        """Return the network's input of one volume, on the CPU."""

    def answer(self, prepared: Tensor, question: Question) -> Answer:
        """Return what the model says of one prepared volume, which others may read as well."""


@runtime_checkable
class MaskedModel(Protocol[_Prepared]):
    """A loaded model that is given the masks of the segmentation stage beside the volume; all else is as in `Model`."""

    @property
    def preprocessing(self) -> Hashable:
        """What `prepare_masked` does; `Model.preprocessing`."""

    def predict_memory(self, shape_zyx: tuple[int, int, int]) -> MemoryAmount:
        """Return the most that preparing and answering takes; `Model.predict_memory`."""

    def prepare_masked(self, volume: Volume, labels: Labels) -> _Prepared:
        """Return the network's input of one volume and its labels (z, y, x) of the task `total`, on the CPU."""

    def answer(self, prepared: _Prepared, question: Question) -> Answer:
        """Return what the model says of one study, prepared so; others may read it as well."""


AnyModel = Model | MaskedModel[Any]


@dataclass(frozen=True)
class _Task(Generic[_Prepared]):
    """One study for one model. `digest` stands for all that `prepare` reads; None where that is not known."""

    volume: VolumeFile
    digest: str | None
    prepare: Callable[[], _Prepared]
    answer: Callable[[_Prepared, Question], Answer]


class ModelStage:
    """Runs one installed model on the volume of a job, and on its masks where the model takes them."""

    def __init__(
        self,
        entry: ModelEntry,
        model: AnyModel,
        name_features: NameFeatures,
        host: ModelHost,
        precision: Precision = Precision.FP32,
    ) -> None:
        self._entry = entry
        self._precision = precision
        self._model = model
        self._name_features = name_features
        self._host = host
        host.preparations.expect(model.preprocessing)

    @property
    def name(self) -> StageName:
        """Which stage the model runs."""
        return self._entry.stage

    def admit(self, shape_zyx: tuple[int, int, int]) -> AbstractContextManager[bool]:
        """Set aside what a volume of this shape will take; False inside where memory is too short for it now.

        What can never fit is let through: `run` ends it at once, instead of letting the job wait for its deadline.
        """
        return self._host.memory.admit(self._model.predict_memory(shape_zyx))

    def run(self, context: StageContext) -> StageOutput:
        """Return the features of the study.

        Raises StaleLease when the work is no longer wanted, Unanswerable when this worker has too little memory.
        """
        clock = _Clock()
        volume = VolumeFile(context.fetch_artefact(ArtefactKind.VOLUME))
        self._host.memory.require_possible(self._model.predict_memory(volume.shape))
        if isinstance(self._model, MaskedModel):
            masks = LabelMapFile(context.fetch_artefact(ArtefactKind.MASKS))
            return self._run(context, _plan_masked(self._model, volume, masks), clock)
        return self._run(context, _plan(self._model, volume), clock)

    def _run(self, context: StageContext, task: _Task[_Prepared], clock: _Clock) -> StageOutput:
        with (
            translated_device_faults(),
            self._host.preparations.share(self._model.preprocessing, task.digest, task.prepare) as prepared,
        ):
            clock.stop("prepare_s")
            with self._host.take_turn():
                clock.stop("wait_s")
                context.report(_PREPARED)
                question = Question(task.volume.geometry, task.volume.shape, context.policy, context.scratch)
                with told_prediction(self._entry.stage):
                    answer = task.answer(prepared, question)
                clock.stop("predict_s")
        if answer.render is not None:
            answer = replace(answer, artefacts=(*answer.artefacts, *answer.render(RenderedStudy(context))))
            clock.stop("render_s")
        return self._make_output(answer, clock.seconds)

    def _make_output(self, answer: Answer, seconds: Mapping[str, float]) -> StageOutput:
        return StageOutput(
            features=self._name_features(self._entry.labels, answer.probabilities),
            artefacts=answer.artefacts,
            warnings=answer.warnings,
            facts={**answer.facts, **describe_run(self._entry, dict(seconds)), "precision": str(self._precision)},
        )


def _plan(model: Model, volume: VolumeFile) -> _Task[Tensor]:
    return _Task(volume, volume.content_digest, lambda: model.prepare(volume.read()), model.answer)


def _plan_masked(model: MaskedModel[_Prepared], volume: VolumeFile, masks: LabelMapFile) -> _Task[_Prepared]:
    if (masks.shape, masks.geometry) != (volume.shape, volume.geometry):
        raise Defect("the masks do not lie on the grid of the volume")
    # Other masks of the same volume (of another segmenter) are prepared anew.
    digest = None if volume.content_digest is None else f"{volume.content_digest} {masks.content_digest}"
    return _Task(volume, digest, lambda: model.prepare_masked(volume.read(), masks.read()), model.answer)


class _Clock:
    """Seconds of one step after another."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def stop(self, step: str) -> None:
        """End a step; the next begins."""
        now = time.monotonic()
        self.seconds[step] = now - self._last
        self._last = now


def make_model_stage(
    settings: Settings,
    name: StageName,
    load: Callable[[ModelEntry, torch.device, ComputeMode], AnyModel],
    name_features: NameFeatures,
) -> ModelStage | None:
    """Return the stage, its model loaded, warm and checked; None when no such model is installed."""
    entry = find_installed(settings, name)
    if entry is None:
        return None
    torch.backends.cudnn.allow_tf32 = False  # float32 means float32
    torch.set_num_threads(settings.threads or os.cpu_count() or 1)
    device = choose_device()
    precision = choose_precision(entry, describe_kind(device), settings.precision)
    mode = ComputeMode(precision, settings.compile_networks)
    with told_loading(entry), verified_by_the_end(), told_compilation(mode):
        model = load(entry, device, mode)
    return ModelStage(entry, model, name_features, get_host(), precision)


def describe_run(entry: ModelEntry, timings: JsonObject) -> JsonObject:
    """Return the facts that fusion and callers read of a model's run."""
    return {
        "name": entry.name,
        "version": entry.version,
        "digest": entry.digest,
        "weights_profile": str(entry.weights_profile),
        "thresholds": dict(entry.thresholds),
        "timings": timings,
    }
