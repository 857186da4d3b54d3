"""From what probability on each label is evidence of its finding, so that the finding may lead a result.

All outputs of a network rise together on a conspicuous study. What matters to a reader is therefore whether a label
parts its finding from *other findings*, and thresholds are chosen on pathological studies alone, very specific ones.
Measured with the demo weights of then on 60 held-out studies (`python -m training.fusion`; the card has those of now):
thresholds and features chosen against all studies led with 3 findings that were there, 16 that were not, and named none
once, at an AUC of 0.922; chosen like this 7 were right, 3 wrong and 10 not named, at 0.925.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model_weights.policies import FindingThresholds
from shared.features import LABELS, make_feature_name
from shared.findings import FINDING_OF_LABEL
from shared.stages import StageName
from training.evaluation.case import Case
from training.fusion_features import list_pathological, list_told, recognises
from training.thresholds import choose_threshold


def choose_evidence(
    cases: Sequence[Case], *, least_own_auc: float, least_specificity: float, least_told: int = 1
) -> FindingThresholds:
    """Return the thresholds of the labels that recognise their finding among others, by model.

    `least_own_auc`, `least_specificity` and `least_told` (`recognises`) are over pathological studies.
    """
    pathological = list_pathological(cases)
    return {
        model: _choose_table(
            model,
            pathological,
            [label for label in LABELS[model] if recognises(pathological, model, label, least_own_auc, least_told)],
            least_specificity,
        )
        for model in LABELS
        if any(make_feature_name(model, label) in case.features for case in pathological for label in LABELS[model])
    }


def _choose_table(
    model: StageName, cases: Sequence[Case], labels: Sequence[str], least_specificity: float
) -> dict[str, float]:
    chosen = {label: _choose(model, label, cases, least_specificity) for label in labels}
    return {label: threshold for label, threshold in chosen.items() if threshold is not None}


def _choose(model: StageName, label: str, cases: Sequence[Case], least_specificity: float) -> float | None:
    feature, finding = make_feature_name(model, label), FINDING_OF_LABEL[model, label]
    answered = list_told(cases, feature, finding)
    is_present = np.array([finding.id in case.truth for case in answered], dtype=bool)
    probabilities = np.array([case.features[feature] for case in answered], dtype=np.float32)
    return choose_threshold(is_present, probabilities, least_specificity)
