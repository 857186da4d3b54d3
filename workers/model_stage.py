"""The stage of a model: volume in, features out. The same for every model that gives one probability for each label."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from model_weights.catalogue import ModelEntry, find_installed
from shared.artefacts import ArtefactKind
from shared.json_values import JsonObject
from shared.settings import Settings
from shared.stages import StageName
from workers.device import ComputeMode, choose_device
from workers.runtime.stage import ProducedArtefact, StageContext, StageOutput, StageWarning
from workers.volume import Geometry, Volume, VolumeFile

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

    `probabilities` are one for each label of its entry, in the entry's order; `facts` join those of the run.
    """

    probabilities: Sequence[float]
    artefacts: Sequence[ProducedArtefact] = ()
    facts: JsonObject = field(default_factory=dict)
    warnings: Sequence[StageWarning] = ()


class Model(Protocol):
    """A loaded model, ready to answer. Safe to use from several threads."""

    def prepare(self, volume: Volume) -> Tensor:
        """Return the network's input of one volume, on the CPU."""

    def answer(self, prepared: Tensor, question: Question) -> Answer:
        """Return what the model says of one prepared volume."""


class ModelStage:
    """Runs one installed model on the volume of a job."""

    def __init__(self, entry: ModelEntry, model: Model, name_features: NameFeatures) -> None:
        self._entry = entry
        self._model = model
        self._name_features = name_features

    @property
    def name(self) -> StageName:
        """Which stage the model runs."""
        return self._entry.stage

    def run(self, context: StageContext) -> StageOutput:
        """Return the features of the study. Raises StaleLease when the work is no longer wanted."""
        started = time.monotonic()
        file = VolumeFile(context.fetch_artefact(ArtefactKind.VOLUME))
        prepared = self._model.prepare(file.read())
        prepared_at = time.monotonic()
        context.report(_PREPARED)
        question = Question(file.geometry, file.shape, context.policy, context.scratch)
        answer = self._model.answer(prepared, question)
        timings = {"prepare_s": prepared_at - started, "predict_s": time.monotonic() - prepared_at}
        return StageOutput(
            features=self._name_features(self._entry.labels, answer.probabilities),
            artefacts=answer.artefacts,
            warnings=answer.warnings,
            facts={**answer.facts, **describe_run(self._entry, timings)},
        )


def make_model_stage(
    settings: Settings,
    name: StageName,
    load: Callable[[ModelEntry, torch.device, ComputeMode], Model],
    name_features: NameFeatures,
) -> ModelStage | None:
    """Return the stage, its model loaded, warm and checked; None when no such model is installed."""
    entry = find_installed(settings, name)
    if entry is None:
        return None
    torch.set_num_threads(settings.threads or os.cpu_count() or 1)
    mode = ComputeMode(settings.precision, settings.compile_networks)
    return ModelStage(entry, load(entry, choose_device(), mode), name_features)


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
