"""What bfloat16 and compilation change: answers and seconds of one model over the same studies."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from statistics import median
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from model_weights.catalogue import ModelEntry
from shared.precision import Precision
from shared.stages import StageName
from workers.ct_clip.image_tower import Encoding
from workers.device import ComputeMode, describe_kind
from workers.model_host.compilation import told_compilation
from workers.model_host.precision import PrecisionMeasurement
from workers.volume import Volume

PREDICTOR_MODULES: Mapping[StageName, str] = {
    StageName.CT_CLIP: "workers.ct_clip.predictor",
    StageName.SUPERVISED: "workers.supervised.predictor",
    StageName.MEDNEXT: "workers.mednext.predictor",
    StageName.DIFFUSION: "workers.diffusion.predictor",
}
"""Models whose arithmetic can be chosen; each module has `Predictor(entry, device, mode)`."""


class _Predictor(Protocol):
    def prepare(self, volume: Volume) -> Tensor: ...

    def predict(self, prepared: Tensor) -> Tensor: ...


@runtime_checkable
class _EncodingPredictor(Protocol):
    def encode(self, prepared: Tensor) -> Encoding: ...

    def score(self, encoding: Encoding) -> Tensor: ...


@dataclass(frozen=True)
class Trial:
    """What a model answered in one mode: `probabilities` (studies, labels), `codes` where it has some.

    `seconds` is the median of one answer on the device, the first (which compiles) left out; `ready_s` is the loading.
    """

    probabilities: Tensor
    codes: Tensor | None
    seconds: float
    ready_s: float


def run_trial(entry: ModelEntry, volumes: Iterable[Volume], device: torch.device, mode: ComputeMode) -> Trial:
    """Load a model and let it answer every volume. Raises Defect where it cannot be loaded or compiled."""
    started = time.perf_counter()
    with told_compilation(mode):
        predictor: _Predictor = import_module(PREDICTOR_MODULES[entry.stage]).Predictor(entry, device, mode)
    ready_s = time.perf_counter() - started
    answers = [_answer(predictor, predictor.prepare(volume)) for volume in volumes]
    codes = [codes for _, codes, _ in answers if codes is not None]
    return Trial(
        probabilities=torch.cat([probabilities for probabilities, _, _ in answers]),
        codes=torch.cat(codes) if codes else None,
        seconds=median([seconds for _, _, seconds in answers][1:] or [answers[0][2]]),
        ready_s=ready_s,
    )


def compare(entry: ModelEntry, device: torch.device, exact: Trial, other: Trial) -> PrecisionMeasurement:
    """Return how far bfloat16 is from float32."""
    flips = None
    if exact.codes is not None and other.codes is not None:
        flips = float((exact.codes != other.codes).double().mean())
    return PrecisionMeasurement(
        digest=entry.digest,
        device=describe_kind(device),
        precision=Precision.BF16,
        studies=len(exact.probabilities),
        largest_error=find_largest_error(exact, other),
        code_flips=flips,
        seconds=other.seconds,
        fp32_seconds=exact.seconds,
    )


def find_largest_error(exact: Trial, other: Trial) -> float:
    """Return the largest difference of a probability; where one is not a number, as far as two can be apart."""
    differences = (exact.probabilities - other.probabilities).abs().nan_to_num(nan=1.0)
    return float(differences.max())


def _answer(predictor: _Predictor, prepared: Tensor) -> tuple[Tensor, Tensor | None, float]:
    started = time.perf_counter()
    if not isinstance(predictor, _EncodingPredictor):
        return predictor.predict(prepared), None, time.perf_counter() - started
    encoding = predictor.encode(prepared)
    probabilities = predictor.score(encoding)
    return probabilities, encoding.codes.cpu(), time.perf_counter() - started


def list_names() -> Sequence[str]:
    """Return the names of the models that can be measured."""
    return [str(name) for name in PREDICTOR_MODULES]
