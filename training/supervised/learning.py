"""From studies with latents and labels to a measured classifier: the part that real and computed studies share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from shared.errors import Defect
from training.supervised.base import BaseModel
from training.supervised.classifier import make_fresh_classifier
from training.supervised.fitting import EpochReport, Fitting, Report, Studies, answer
from training.supervised.loss import find_teachable
from training.supervised.measures import Array, LabelReport, choose_thresholds, report_labels
from training.supervised.plan import FineTuningPlan
from training.supervised.table import Split
from workers.supervised.model import LatentClassifier

_DIGEST_CHARACTERS = 12


@dataclass(frozen=True)
class Material:
    """Studies by what they are for, and the patient of each; targets are in the order of `labels`."""

    labels: tuple[str, ...]
    studies: Mapping[Split, Studies]
    groups: Mapping[Split, Sequence[str]]


@dataclass(frozen=True)
class Learnt:
    """A classifier in inference mode on the CPU, and what was measured of it on the studies of `measured_on`."""

    classifier: LatentClassifier
    labels: tuple[str, ...]
    untaught: tuple[str, ...]
    thresholds: Mapping[str, float]
    reports: Sequence[LabelReport]
    measured_on: Split
    history: Sequence[EpochReport]


def learn(
    base: BaseModel,
    plan: FineTuningPlan,
    material: Material,
    *,
    least_specificity: float,
    state: Path,
    device: torch.device,
    report: Report,
) -> Learnt:
    """Fit, choose thresholds and measure, each on studies of its own. Raises Defect when no label can be learnt."""
    taught = _keep_teachable(material)
    training, validation = taught.studies[Split.TRAINING], taught.studies[Split.VALIDATION]
    classifier = make_fresh_classifier(base, plan.head, training.targets).to(device)
    checkpoint = state / f"checkpoint-{_compute_fingerprint(base, plan, taught)}.pt"
    fitting = Fitting(classifier, plan, training=training, validation=validation, checkpoint=checkpoint, report=report)
    classifier = fitting.run()
    thresholds = choose_thresholds(
        taught.labels, *_answer(classifier, plan, validation), least_specificity=least_specificity
    )
    measured_on = next(split for split in (Split.HELD_OUT, Split.VALIDATION, Split.TRAINING) if taught.groups[split])
    targets, probabilities = _answer(classifier, plan, taught.studies[measured_on])
    groups = taught.groups[measured_on]
    return Learnt(
        classifier=classifier.cpu(),
        labels=taught.labels,
        untaught=tuple(label for label in material.labels if label not in taught.labels),
        thresholds=thresholds,
        reports=report_labels(taught.labels, targets, probabilities, thresholds, groups=groups, seed=plan.seed),
        measured_on=measured_on,
        history=fitting.history,
    )


def _keep_teachable(material: Material) -> Material:
    """Leave out labels that training has not seen both ways: an output that learnt nothing would read as an answer."""
    kept = find_teachable(material.studies[Split.TRAINING].targets)
    if not kept:
        raise Defect("no label has both a study with it and one without it among the training studies")
    return Material(
        labels=tuple(material.labels[index] for index in kept),
        studies={
            split: replace(studies, targets=studies.targets[:, kept]) for split, studies in material.studies.items()
        },
        groups=material.groups,
    )


def _compute_fingerprint(base: BaseModel, plan: FineTuningPlan, material: Material) -> str:
    """Return what names the state of a run: another plan, table or encoder must not go on from it."""
    told = [base.encoder_digest, plan.to_table(), material.labels]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for split in (Split.TRAINING, Split.VALIDATION):
        studies = material.studies[split]
        for tensor in (studies.targets, studies.weights, studies.latents):
            digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()[:_DIGEST_CHARACTERS]


def _answer(classifier: LatentClassifier, plan: FineTuningPlan, studies: Studies) -> tuple[Array, Array]:
    """Return targets and probabilities, both (studies, labels)."""
    probabilities = answer(classifier, studies, has_latents=not plan.trains_encoder)
    return studies.targets.double().numpy(), probabilities.double().numpy()
