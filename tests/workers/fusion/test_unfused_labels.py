"""A model whose labels are no features of the fusion: shown with its findings, missing from the probability."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from shared.errors import Unanswerable
from shared.findings import FINDING_OF_LABEL
from shared.stages import MODELS, StageName
from tests.workers.fusion.conftest import LOUD, POLICY, make_features, make_records
from tests.workers.fusion.test_document import CLOSED, write
from training.fusion_booster import FittedBooster
from workers.fusion.answers import NOT_FUSED, collect_answers
from workers.fusion.stage import _require_enough
from workers.label_roles import UNFUSED
from workers.runtime.stage import StageRecord

SUPERVISED = StageName.SUPERVISED
OTHERS = tuple(model for model in MODELS if model is not SUPERVISED)


def make_public_records(
    unfused: Mapping[str, float], models: tuple[StageName, ...] = OTHERS
) -> dict[StageName, StageRecord]:
    """Return records in which the supervised model said only what no feature carries."""
    records = make_records(make_features(models=models))
    record = records[SUPERVISED]
    facts = {**record.facts, UNFUSED: dict(unfused), "thresholds": {"Cardiomegaly": 0.6}}
    return {**records, SUPERVISED: replace(record, facts=facts)}


class TestPublicClassifier:
    def test_is_missing_from_the_probability_and_says_why(self) -> None:
        answers = collect_answers(make_public_records({"Cardiomegaly": 0.9}))
        assert SUPERVISED not in answers.answered
        assert [(each.model, each.reason) for each in answers.missing] == [(SUPERVISED, NOT_FUSED)]

    def test_is_shown_with_its_finding_threshold_and_weights(self, fitted: FittedBooster, catalogue: Path) -> None:
        document = write(fitted, catalogue, make_public_records({"Cardiomegaly": 0.9, "Medical material": 0.2}))
        CLOSED.validate(document)
        findings = {finding["finding"]: finding for finding in document["findings"]}
        enlarged = findings["cardiac_enlargement"]
        assert enlarged["models"]["supervised"] == 0.9
        assert enlarged["thresholds"]["supervised"] == 0.6
        assert enlarged["above_threshold"]
        assert findings["medical_material"]["models"] == {"supervised": 0.2}
        assert findings["medical_material"]["attribution"] == 0
        assert "supervised" in {model["name"] for model in document["models"]}
        assert document["completeness"]["answered"] == 4

    def test_keeps_the_threshold_of_its_card_where_the_fusion_has_others(self) -> None:
        answers = collect_answers(make_public_records({"Cardiomegaly": 0.9}), {SUPERVISED: {"emphysema": 0.7}})
        assert answers.get_thresholds(FINDING_OF_LABEL[SUPERVISED, "Cardiomegaly"]) == {SUPERVISED: 0.6}
        assert answers.get_thresholds(FINDING_OF_LABEL[SUPERVISED, "emphysema"]) == {}

    def test_makes_the_result_partial(self, fitted: FittedBooster, catalogue: Path) -> None:
        assert write(fitted, catalogue, make_public_records({"Cardiomegaly": 0.9}))["state"] == "completed_partial"

    def test_changes_no_probability(self, fitted: FittedBooster, catalogue: Path) -> None:
        without = write(fitted, catalogue, make_public_records({}))
        with_it = write(fitted, catalogue, make_public_records({"Cardiomegaly": 0.9}))
        assert with_it["probability_of_pathology"] == without["probability_of_pathology"]

    def test_does_not_count_towards_the_models_that_a_policy_needs(self) -> None:
        answers = collect_answers(make_public_records({"Cardiomegaly": 0.9}, models=()))
        with pytest.raises(Unanswerable, match="0 of 5 models answered"):
            _require_enough(answers, POLICY)


class TestMixedLabels:
    def test_what_is_weighed_speaks_first_for_a_finding(self) -> None:
        records = make_records(make_features("supervised_emphysema"))
        facts = {**records[SUPERVISED].facts, UNFUSED: {"Emphysema": 0.3, "Cardiomegaly": 0.4}}
        answers = collect_answers({**records, SUPERVISED: replace(records[SUPERVISED], facts=facts)})
        assert answers.missing == []
        emphysema, heart = (FINDING_OF_LABEL[SUPERVISED, label] for label in ("Emphysema", "Cardiomegaly"))
        assert answers.get_probabilities(emphysema)[SUPERVISED] == LOUD
        assert answers.get_probabilities(heart)[SUPERVISED] == 0.4
