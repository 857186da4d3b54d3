"""What is measured of the demo fVLM: its answers through the code that the stage runs, by the masks it is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.ct_clip_vocabulary import make_vocabulary
from training.fvlm.batches import ITEMS
from training.fvlm.examples import Example
from training.fvlm.masks import SegmenterErrors, spoil_masks
from training.fvlm.plan import TAUGHT
from training.supervised.measures import LabelReport
from training.supervised.measures import report_labels as report_columns
from training.thresholds import choose_threshold
from workers.ct_clip.text_encoding import compute_text_latents
from workers.fvlm.configuration import Preprocessing
from workers.fvlm.items import list_prompts
from workers.fvlm.model import FVLM
from workers.fvlm.organs import LabelMap, merge_labels
from workers.fvlm.preprocess import cut_windows, orient, prepare_study
from workers.fvlm.scoring import compute_logits, compute_probabilities
from workers.volume import Volume

Segment = Callable[[Volume], LabelMap]
"""From a volume to TotalSegmentator's labels on its grid."""

FINDINGS = tuple(item.finding for item in ITEMS)


class MaskKind(StrEnum):
    """Where organ masks come from."""

    TRUE = "true masks"
    SPOILT = "masks with errors"
    PREDICTED = "predicted masks"


@dataclass(frozen=True)
class Answers:
    """What a model said of a set of studies: both (studies, items), NaN where the organ was not found.

    Targets of items that are not taught mean nothing.
    """

    targets: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float64]


class Reader:
    """A model with the latents of its sentences."""

    def __init__(self, model: FVLM, preprocessing: Preprocessing) -> None:
        self._model, self._preprocessing = model, preprocessing
        self._texts = compute_text_latents(model.text, make_vocabulary(), list_prompts(ITEMS))

    @torch.inference_mode()
    def read(self, volume: Volume, organs: LabelMap) -> list[float]:
        """Return the probability of each item, NaN where its organ is not there; organs are `Organ.label`."""
        hu, turned, spacing = orient(volume, organs)
        study = prepare_study(hu, turned, spacing, self._preprocessing)
        latents: dict[str, Tensor] = {}
        for window in cut_windows(study, self._preprocessing, self._model.image.encoder.shape):
            latents |= self._model.image(window.image, window.token_masks)
        return [self._score(number, latents.get(item.organ)) for number, item in enumerate(ITEMS)]

    def _score(self, number: int, latent: Tensor | None) -> float:
        if latent is None:
            return math.nan
        logits = compute_logits(latent, self._texts[2 * number : 2 * number + 2], self._model.temperature)
        return float(compute_probabilities(logits)[0, 1])


def answer(
    reader: Reader,
    examples: Iterable[Example],
    preprocessing: Preprocessing,
    kinds: Sequence[MaskKind],
    segment: Segment | None = None,
) -> Mapping[MaskKind, Answers]:
    """Return the answers about studies by masks of each kind; predicted ones are those of `segment`."""
    said: dict[MaskKind, list[list[float]]] = {kind: [] for kind in kinds}
    targets = []
    for example in examples:
        targets.append([float(bool(set(TAUGHT.get(name, ())) & set(example.findings))) for name in FINDINGS])
        for kind, rows in said.items():
            rows.append(_read(reader, example, _find_organs(example, kind, preprocessing, segment)))
    return {kind: _collect(targets, rows) for kind, rows in said.items()}


def choose_thresholds(answers: Answers, least_specificity: float) -> Mapping[str, float]:
    """Return the threshold of each taught item that has one."""
    chosen = {}
    for column, name in enumerate(FINDINGS):
        known = ~np.isnan(answers.targets[:, column])
        is_present, values = answers.targets[known, column] > 0, answers.probabilities[known, column]
        threshold = choose_threshold(is_present, values.astype(np.float32), least_specificity)
        if name in TAUGHT and threshold is not None:
            chosen[name] = threshold
    return chosen


def report_items(answers: Answers, thresholds: Mapping[str, float], seed: int) -> Sequence[LabelReport]:
    """Return one report for each taught item, with intervals by bootstrap over studies."""
    taught = [column for column, name in enumerate(FINDINGS) if name in TAUGHT]
    return report_columns(
        [FINDINGS[column] for column in taught],
        answers.targets[:, taught],
        answers.probabilities[:, taught],
        thresholds,
        groups=[str(number) for number in range(len(answers.targets))],
        seed=seed,
    )


def describe_untaught(answers: Answers) -> Mapping[str, float]:
    """Return the mean probability of each item that was not taught."""
    return {
        name: float(np.nanmean(answers.probabilities[:, column]))
        for column, name in enumerate(FINDINGS)
        if name not in TAUGHT
    }


def _find_organs(example: Example, kind: MaskKind, preprocessing: Preprocessing, segment: Segment | None) -> LabelMap:
    if kind is MaskKind.SPOILT:
        rng = np.random.default_rng((example.seed, len(kind)))
        return spoil_masks(example.labels, example.volume.hu, SegmenterErrors(), rng)
    labels = example.labels
    if kind is MaskKind.PREDICTED:
        assert segment is not None
        labels = segment(example.volume)
    return merge_labels(labels, preprocessing.geometry)


def _read(reader: Reader, example: Example, organs: LabelMap) -> list[float]:
    return reader.read(example.volume, organs) if organs.any() else [math.nan] * len(FINDINGS)


def _collect(targets: Sequence[Sequence[float]], rows: Sequence[Sequence[float]]) -> Answers:
    probabilities = np.asarray(rows, np.float64)
    known = np.asarray(targets, np.float64)
    return Answers(np.where(np.isnan(probabilities), np.nan, known), probabilities)
