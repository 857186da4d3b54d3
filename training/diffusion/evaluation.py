"""How well the slice classifier parts slices and studies, by the code that the stage runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from training.diffusion.examples import Example
from training.diffusion.localisation import Estimate
from training.diffusion.mapping import LEAST_PIXELS
from training.evaluation.measures import compute_auc, compute_auc_interval
from workers.diffusion.classifier import SliceClassifier
from workers.diffusion.features import summarise
from workers.diffusion.scoring import score_slices

_TOGETHER = 2
_RESAMPLES = 2000
_INTERVAL = (2.5, 97.5)
_SEED = 0

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """A study and the probability of each of its slices; `truth` is 1 with a lesion, 0 without any, -1 in between."""

    findings: tuple[str, ...]
    scores: Values
    truth: npt.NDArray[np.int8]


def score_example(classifier: SliceClassifier, example: Example, pathological_class: int) -> Scored:
    """Return the scores of a study's slices."""
    assert example.lesions is not None
    images = torch.from_numpy(example.images.astype(np.float32))[:, None]
    scores = score_slices(classifier, torch.split(images, _TOGETHER), pathological_class=pathological_class)
    changed = example.lesions.sum(axis=(1, 2))
    truth = np.where(changed >= LEAST_PIXELS, 1, np.where(changed == 0, 0, -1)).astype(np.int8)
    return Scored(example.findings, scores.double().numpy(), truth)


def measure_slices(studies: Sequence[Scored]) -> Estimate:
    """Return the AUC of slices with a lesion against slices without any; studies are resampled whole."""
    ordered = np.array([[_count_ordered(one, other) for other in studies] for one in studies])
    positives, negatives = (np.array([(study.truth == label).sum() for study in studies]) for label in (1, 0))
    drawn = np.random.default_rng(_SEED).multinomial(len(studies), np.full(len(studies), 1 / len(studies)), _RESAMPLES)
    pairs = (drawn @ positives) * (drawn @ negatives)
    areas = np.einsum("ri,ij,rj->r", drawn, ordered, drawn)[pairs > 0] / pairs[pairs > 0]
    low, high = np.percentile(areas, _INTERVAL)
    return Estimate(float(ordered.sum() / (positives.sum() * negatives.sum())), float(low), float(high))


def measure_studies(studies: Sequence[Scored]) -> tuple[Estimate, Estimate]:
    """Return the AUC of studies with findings against those without, of the mean and of the largest score."""
    labels = np.array([bool(study.findings) for study in studies])
    statistics = np.array([summarise(torch.from_numpy(study.scores)) for study in studies], np.float64)
    of_mean, of_largest = (_measure(labels, statistics[:, column]) for column in (0, 1))
    return of_mean, of_largest


def measure_findings(studies: Sequence[Scored]) -> dict[str, tuple[int, float]]:
    """Return, by finding, how many studies have it alone, and the AUC of their largest score against normal studies."""
    normal = [study.scores.max() for study in studies if not study.findings]
    measured = {}
    for name in sorted({name for study in studies for name in study.findings}):
        alone = [study.scores.max() for study in studies if study.findings == (name,)]
        if alone and normal:
            labels = np.array([True] * len(alone) + [False] * len(normal))
            measured[name] = (len(alone), compute_auc(labels, np.array(alone + normal)))
    return measured


def _measure(labels: npt.NDArray[np.bool_], values: Values) -> Estimate:
    return Estimate(compute_auc(labels, values), *compute_auc_interval(labels, values, _SEED))


def _count_ordered(one: Scored, other: Scored) -> float:
    """Return how many pairs of a slice with a lesion of one study and a slice without of the other are in order."""
    above = one.scores[one.truth == 1][:, None] - other.scores[other.truth == 0][None, :]
    return float(((np.sign(above) + 1) / 2).sum())
