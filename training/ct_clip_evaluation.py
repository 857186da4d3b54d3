"""What is measured of the demo CT-CLIP: its answers, through the network as the stage runs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from shared.features import CT_CLIP_LABELS
from training.ct_clip_batches import make_targets, make_volumes
from training.ct_clip_examples import Example
from training.ct_clip_plan import ANY_FINDING, TRAINED_LABELS
from training.ct_clip_vocabulary import make_vocabulary
from training.thresholds import choose_threshold
from workers.ct_clip.model import CTCLIP, compute_probabilities, score_prompts
from workers.ct_clip.prompts import make_prompts
from workers.ct_clip.text_encoding import compute_text_latents

MEASURED_LABELS: tuple[str, ...] = (ANY_FINDING, *TRAINED_LABELS)
"""Labels that phantoms can have and not have."""

LEAST_SPECIFICITY = 0.85
"""Of a threshold on the studies that it is chosen on: a finding that is called everywhere says nothing."""

_ANSWERED_TOGETHER = 8

_Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Answers:
    """What a model said of a set of studies: codes (studies, t, h, w), all others (studies, labels).

    `continuous` are the probabilities from tokens that were not replaced by their codes.
    """

    targets: _Array
    probabilities: _Array
    continuous: _Array
    codes: Tensor

    @property
    def codes_used(self) -> int:
        """How many codes stand for a token anywhere in the studies."""
        return len(set(self.codes.flatten().tolist()))

    @property
    def healthy_codes(self) -> Tensor:
        """The codes of the studies without a finding."""
        return self.codes[torch.from_numpy(self.targets[:, CT_CLIP_LABELS.index(ANY_FINDING)] == 0)]


@dataclass(frozen=True)
class LabelReport:
    """One label on held-out phantoms. Without a `threshold` no probability of the label is evidence."""

    name: str
    positives: int
    auc: float
    threshold: float | None
    sensitivity: float | None
    specificity: float | None


@torch.inference_mode()
def answer(model: CTCLIP, examples: Iterator[Example]) -> Answers:
    """Return the model's probabilities of prepared studies, with the code book and without."""
    prompts = compute_text_latents(model.text, make_vocabulary(), make_prompts(CT_CLIP_LABELS))
    targets, quantised, continuous, codes = [], [], [], []
    while group := [example for _, example in zip(range(_ANSWERED_TOGETHER), examples, strict=False)]:
        activations = dict(model.image.iterate_activations(make_volumes(group)))
        targets.append(np.stack([make_targets(example) for example in group]))
        quantised.append(_judge(model, activations["image_latents"], prompts))
        continuous.append(_judge(model, model.image.project(activations["encoded_tokens"]), prompts))
        codes.append(activations["vq_indices"])
    return Answers(np.concatenate(targets), np.concatenate(quantised), np.concatenate(continuous), torch.cat(codes))


def choose_thresholds(answers: Answers) -> Mapping[str, float]:
    """Return, for each measured label that can be told better than by a guess, the probability that parts it best."""
    chosen = {
        name: choose_threshold(*_select(answers, answers.probabilities, name), LEAST_SPECIFICITY)
        for name in MEASURED_LABELS
    }
    return {name: threshold for name, threshold in chosen.items() if threshold is not None}


def report_labels(answers: Answers, thresholds: Mapping[str, float]) -> Sequence[LabelReport]:
    """Return one report for each measured label with studies on both sides."""
    selected = {name: _select(answers, answers.probabilities, name) for name in MEASURED_LABELS}
    return [
        _report_label(name, is_present, values, thresholds.get(name))
        for name, (is_present, values) in selected.items()
        if 0 < is_present.sum() < len(is_present)
    ]


def compute_macro_auc(answers: Answers, probabilities: _Array) -> float:
    """Return the mean AUC of the labels that have a finding of their own and studies on both sides."""
    values = []
    for name in TRAINED_LABELS:
        is_present, said = _select(answers, probabilities, name)
        if 0 < is_present.sum() < len(is_present):
            values.append(roc_auc_score(is_present, said))
    return float(np.mean(values)) if values else float("nan")


def _select(answers: Answers, probabilities: _Array, name: str) -> tuple[npt.NDArray[np.bool_], _Array]:
    column = CT_CLIP_LABELS.index(name)
    return answers.targets[:, column] > 0, probabilities[:, column]


def _report_label(name: str, is_present: npt.NDArray[np.bool_], values: _Array, threshold: float | None) -> LabelReport:
    auc = float(roc_auc_score(is_present, values))
    if threshold is None:
        return LabelReport(name, int(is_present.sum()), auc, None, None, None)
    is_called = values >= threshold
    sensitivity, specificity = is_called[is_present].mean(), 1 - is_called[~is_present].mean()
    return LabelReport(name, int(is_present.sum()), auc, threshold, float(sensitivity), float(specificity))


def _judge(model: CTCLIP, latents: Tensor, prompts: Tensor) -> _Array:
    probabilities: _Array = compute_probabilities(score_prompts(latents, prompts, model.temperature)).numpy()
    return probabilities
