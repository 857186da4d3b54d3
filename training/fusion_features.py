"""Which features may move the fusion's score: those that can stand for what they say.

A label that does not recognise its own finding still correlates with pathology, since all outputs of a network rise
together on a conspicuous study; so does "normal". A booster that splits on them scores as well and explains nothing.
Recognising is told by the pathological studies alone, for the same reason. `training.fusion_evidence` says what this is
worth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared.features import DIFFUSION_FEATURES, FEATURE_NAMES, LABELS, make_feature_name
from shared.findings import FINDING_OF_LABEL, Finding, FindingKind
from shared.stages import StageName
from training.evaluation.case import Case
from training.evaluation.measures import compute_auc
from workers.fusion.aggregates import AGGREGATES

_MAXIMA = ("max", "max_probability")


def choose_features(cases: Sequence[Case], least_own_auc: float, least_told: int = 1) -> tuple[str, ...]:
    """Return the features that a booster may use, in canonical order.

    Labels with an AUC for their own finding, among pathological studies, of at least `least_own_auc`, maxima (which
    speak for one label), and the diffusion model. Labels of the whole chest and means and spreads over labels name
    nothing and are left out.
    """
    chosen = {
        *_list_recognising(list_pathological(cases), least_own_auc, least_told),
        *(aggregate for aggregate, (statistic, _) in AGGREGATES.items() if statistic in _MAXIMA),
        *DIFFUSION_FEATURES,
    }
    return tuple(name for name in FEATURE_NAMES if name in chosen)


def _list_recognising(cases: Sequence[Case], least_own_auc: float, least_told: int) -> list[str]:
    labels = [(model, label) for model, labels in LABELS.items() for label in labels]
    return [
        make_feature_name(model, label)
        for model, label in labels
        if recognises(cases, model, label, least_own_auc, least_told)
    ]


def recognises(
    pathological: Sequence[Case], model: StageName, label: str, least_own_auc: float, least_told: int = 1
) -> bool:
    """Say whether a label names a finding, and parts the studies with it from those with others so well."""
    finding = FINDING_OF_LABEL[model, label]
    own_auc = compute_own_auc(pathological, make_feature_name(model, label), finding, least_told)
    return finding.kind is FindingKind.FINDING and own_auc >= least_own_auc


def list_pathological(cases: Sequence[Case]) -> list[Case]:
    """Return the studies that have any finding."""
    return [case for case in cases if case.is_pathological]


def list_told(cases: Sequence[Case], feature: str, finding: Finding) -> list[Case]:
    """Return the studies that have the feature, and of which it is known whether they have the finding."""
    return [case for case in cases if feature in case.features and finding.id not in case.unknown]


def compute_own_auc(cases: Sequence[Case], feature: str, finding: Finding, least_told: int = 1) -> float:
    """Return how well a label parts the studies with its finding from the others.

    0.5 where fewer than `least_told` have it, or have it not: a label that guesses parts two studies half of the time.
    """
    answered = list_told(cases, feature, finding)
    labels = np.array([finding.id in case.truth for case in answered], dtype=bool)
    if min(labels.sum(), len(labels) - labels.sum()) < max(least_told, 1):
        return 0.5
    return compute_auc(labels, np.array([case.features[feature] for case in answered]))
