"""Without a model the answer is that of a study in which its stage had failed."""

from __future__ import annotations

import pytest

from model_weights.policies import Policy
from shared.stages import MODELS, StageName
from shared.states import StageState
from tests.workers.fusion.conftest import POLICY, make_features, make_records
from training.fusion_booster import FittedBooster
from workers.fusion.aggregates import compute_vector
from workers.fusion.answers import collect_answers
from workers.fusion.omission import compute_omissions

LOUD = make_features("kolyan_mass", "ctclip_Pulmonary nodule", "okhr_Lung cancer")


class TestOmission:
    @pytest.mark.parametrize("model", MODELS)
    def test_is_the_answer_that_the_model_would_leave_behind_by_failing(
        self, fitted: FittedBooster, model: StageName
    ) -> None:
        told = compute_omissions(fitted.booster, collect_answers(make_records(LOUD)), POLICY)[model]
        ended = {model: (StageState.FAILED, "model_failed")}
        left = collect_answers(make_records(LOUD, ended=ended))
        assert told.probability == fitted.booster.explain(compute_vector(left.features)).probability
        assert told.is_pathological == (told.probability >= POLICY.threshold)

    def test_some_model_matters_to_a_loud_study(self, fitted: FittedBooster) -> None:
        answers = collect_answers(make_records(LOUD))
        whole = fitted.booster.explain(compute_vector(answers.features)).probability
        without = compute_omissions(fitted.booster, answers, POLICY)
        assert any(omission.probability != whole for omission in without.values())

    def test_only_models_that_answered_can_be_left_out(self, fitted: FittedBooster) -> None:
        ended = {StageName.FVLM: (StageState.SKIPPED, "model_not_installed")}
        without = compute_omissions(fitted.booster, collect_answers(make_records(LOUD, ended=ended)), POLICY)
        assert set(without) == set(MODELS) - {StageName.FVLM}

    @pytest.mark.parametrize(("needed", "is_allowed"), [(4, True), (5, False)])
    def test_the_policy_may_not_take_fewer_models(self, fitted: FittedBooster, needed: int, is_allowed: bool) -> None:
        policy = Policy("strict", "1", 0.5, needed)
        without = compute_omissions(fitted.booster, collect_answers(make_records(LOUD)), policy)
        assert {omission.is_allowed for omission in without.values()} == {is_allowed}
