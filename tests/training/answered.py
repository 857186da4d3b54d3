"""Made-up studies as two models would answer them: good but not perfect, the second one better."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from model_weights.catalogue import ModelEntry
from shared.features import CT_CLIP_LABELS, LABELS, MEDNEXT_LABELS, make_feature_name
from shared.findings import FINDING_OF_LABEL
from shared.settings import WeightsProfile
from shared.stages import StageName
from training.evaluation.case import Case, name_findings


def make_entry(stage: StageName) -> ModelEntry:
    return ModelEntry(
        name=f"{stage}-tests",
        stage=stage,
        version="1",
        weights_profile=WeightsProfile.DEMO,
        architecture={},
        preprocessing={},
        labels=LABELS.get(stage, ()),
        thresholds=dict.fromkeys(LABELS.get(stage, ()), 0.5),
        files={},
        origin="made by a test",
        licence="Apache-2.0",
        card=None,
    )


MODELS = (make_entry(StageName.CT_CLIP), make_entry(StageName.MEDNEXT))


def make_cases(seeds: range) -> list[Case]:
    """Return studies as two models would answer them that are good but not perfect, the second one better."""
    return [make_case(seed) for seed in seeds]


def make_case(seed: int) -> Case:
    generator = np.random.default_rng(seed)
    truth = tuple(generator.choice(MEDNEXT_LABELS[1:], size=seed % 2, replace=False).tolist())
    features = {**answer_as_ct_clip(truth, generator), **answer_as_mednext(truth, generator)}
    return Case(seed, features, name_findings(truth), is_pathological=bool(truth))


def answer_as_ct_clip(truth: tuple[str, ...], generator: np.random.Generator) -> dict[str, float]:
    findings = [FINDING_OF_LABEL[StageName.MEDNEXT, name] for name in truth]
    present = {finding.labels.get(StageName.CT_CLIP) for finding in findings}
    return {
        make_feature_name(StageName.CT_CLIP, label): float(generator.beta(*((5, 3) if label in present else (2, 8))))
        for label in CT_CLIP_LABELS
    }


def answer_as_mednext(truth: tuple[str, ...], generator: np.random.Generator) -> dict[str, float]:
    answers = {
        f"kolyan_{label}": float(generator.beta(*((8, 2) if label in truth else (1, 12)))) for label in MEDNEXT_LABELS
    }
    answers["kolyan_normal"] = float(generator.beta(*((2, 6) if truth else (6, 2))))
    return answers


def make_here(make: Callable[[str], None], tasks: Sequence[str], _processes: int) -> Iterator[None]:
    """Do in this process what training leaves to others, which take seconds to start."""
    return map(make, tasks)
