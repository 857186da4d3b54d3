"""A small booster, really trained on small made-up answers of all five models, and what a job needs around it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from model_weights.catalogue import ModelEntry
from model_weights.policies import Policy
from model_weights.publishing import publish_entry
from shared.features import DIFFUSION_FEATURES, LABELS, get_model, make_feature_name
from shared.json_values import JsonObject, JsonValue
from shared.settings import WeightsProfile
from shared.stages import MODELS, StageName
from shared.states import StageState
from training.fusion_booster import BoosterSettings, FittedBooster, drop_models, fit_booster
from workers.fusion.aggregates import compute_vector
from workers.fusion.booster import make_known_answer
from workers.runtime.stage import StageRecord, StageWarning

POLICY = Policy(name="tests", version="1", threshold=0.5, minimum_models=1)
SETTINGS = BoosterSettings(trees=30, smallest_leaf=10, learning_rate=0.2)
SILENT = 0.02
LOUD = 0.95


def make_features(*loud: str, models: tuple[StageName, ...] = MODELS) -> dict[str, float]:
    """Return answers in which only the features named in `loud` are high."""
    names = [make_feature_name(model, label) for model, labels in LABELS.items() for label in labels]
    values = {name: LOUD if name in loud else SILENT for name in (*names, *DIFFUSION_FEATURES)}
    return {name: value for name, value in values.items() if get_model(name) in models}


def make_studies(count: int, seed: int) -> tuple[list[dict[str, float]], list[int]]:
    """Return random answers and labels: pathological where any model is loud about any finding."""
    generator = np.random.default_rng(seed)
    names = list(make_features())
    studies, labels = [], []
    for number in range(count):
        is_pathological = number % 2
        values = generator.beta(1, 12, len(names))
        if is_pathological:
            values[generator.integers(0, len(names), 6)] = generator.beta(12, 1, 6)
        features = dict(zip(names, map(float, values), strict=True))
        studies.append(drop_models(features, MODELS, rate=0.3, generator=generator))
        labels.append(is_pathological)
    return studies, labels


@pytest.fixture(scope="session")
def fitted() -> FittedBooster:
    """A booster over all 168 features."""
    studies, labels = make_studies(600, seed=1)
    return fit_booster([compute_vector(study) for study in studies], labels, SETTINGS)


@pytest.fixture(scope="session")
def catalogue(fitted: FittedBooster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights with the booster in its catalogue."""
    folder = tmp_path_factory.mktemp("weights")
    publish_fusion(folder, fitted.text, make_description(fitted))
    return folder


def make_description(fitted: FittedBooster) -> dict[str, object]:
    answers = [make_known_answer(fitted.booster, compute_vector(make_features("kolyan_mass")))]
    return {"features": list(fitted.booster.features), "known_answers": answers}


def publish_fusion(folder: Path, text: str, description: Mapping[str, object]) -> ModelEntry:
    booster, told = folder / "source.txt", folder / "source.json"
    booster.write_text(text)
    told.write_text(json.dumps(description))
    return publish_entry(
        name="fusion-tests",
        stage=StageName.FUSION,
        version="1",
        weights_profile=WeightsProfile.FULL,
        architecture={},
        preprocessing={},
        labels=(),
        thresholds={},
        sources={"booster": booster, "description": told},
        origin="made by a test",
        licence="Apache-2.0",
        catalogue=folder / "catalogue.toml",
    )


def make_records(
    features: Mapping[str, float],
    *,
    threshold: float = 0.5,
    ended: Mapping[StageName, tuple[StageState, str]] = MappingProxyType({}),
) -> dict[StageName, StageRecord]:
    """Return the records of a job whose models wrote `features`; `ended` names models that ended otherwise."""
    records = {StageName.INTAKE: make_intake_record()}
    for model in MODELS:
        own = {name: value for name, value in features.items() if get_model(name) is model}
        state, reason = ended.get(model, (StageState.SUCCEEDED, None))
        records[model] = StageRecord(
            name=model,
            state=state,
            reason=reason,
            facts=make_model_facts(model, threshold),
            warnings=(),
            features=own if state is StageState.SUCCEEDED else {},
            seconds=1.25,
        )
    return records


def make_intake_record() -> StageRecord:
    series: JsonObject = {
        "series_instance_uid": "1.2.3.4",
        "slices": 40,
        "spacing_zyx_mm": [5.0, 1.0, 1.0],
        "kernel": None,
        "reason": "the only series",
    }
    return StageRecord(
        name=StageName.INTAKE,
        state=StageState.SUCCEEDED,
        reason=None,
        facts={"study_uid": "1.2.3", "series_uid": "1.2.3.4", "series": series, "timings": {"read": 0.25}},
        warnings=(StageWarning("gantry_tilt_corrected", {"tilt_deg": 12.5}),),
        features={},
        seconds=0.5,
    )


def make_model_facts(model: StageName, threshold: float) -> dict[str, JsonValue]:
    return {
        "name": f"{model}-tests",
        "version": "1",
        "digest": "0" * 64,
        "weights_profile": "full",
        "thresholds": dict.fromkeys(LABELS.get(model, ()), threshold),
        "timings": {"prepare_s": 0.25, "predict_s": 1.0},
    }


def fill_missing(vector: Mapping[str, float], value: float) -> dict[str, float]:
    """Return the vector with `value` wherever nothing is known."""
    return {name: value if math.isnan(known) else known for name, known in vector.items()}
