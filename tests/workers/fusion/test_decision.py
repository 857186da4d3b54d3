"""Class, findings and the leading one: only what a model stands for is named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.stages import MODELS, StageName
from shared.states import StageState
from tests.workers.fusion.conftest import LOUD, POLICY, make_features, make_records
from workers.fusion.answers import NO_VALUES, collect_answers
from workers.fusion.decision import NO_SPECIFIC_PATHOLOGY, Decision, decide

MASS = "pulmonary_mass"
EFFUSION = "pleural_effusion"


def judge(attributions: dict[str, float], *loud: str, probability: float = 0.9, threshold: float = 0.5) -> Decision:
    answers = collect_answers(make_records(make_features(*loud), threshold=threshold))
    return decide(probability, POLICY, answers, attributions)


class TestClass:
    @pytest.mark.parametrize(("probability", "is_pathological"), [(0.49999, False), (0.5, True), (0.9, True)])
    def test_is_one_at_or_above_the_threshold(self, probability: float, is_pathological: bool) -> None:
        assert judge({}, probability=probability).is_pathological is is_pathological

    def test_another_policy_decides_otherwise_on_the_same_probability(self) -> None:
        answers = collect_answers(make_records(make_features()))
        strict = replace(POLICY, threshold=0.95)
        assert [decide(0.9, policy, answers, {}).is_pathological for policy in (POLICY, strict)] == [True, False]


class TestLeadingFinding:
    def test_is_the_one_with_the_largest_attribution_and_evidence(self) -> None:
        decision = judge({MASS: 2.0, EFFUSION: 1.0}, "kolyan_mass", "okhr_Pleural effusion")
        assert decision.leading == "Pulmonary mass"
        assert [evidence.finding.id for evidence in decision.top] == [MASS, EFFUSION]

    def test_a_larger_attribution_without_evidence_does_not_lead(self) -> None:
        assert judge({MASS: 2.0, EFFUSION: 1.0}, "okhr_Pleural effusion").leading == "Pleural effusion"

    def test_evidence_without_a_positive_attribution_does_not_lead(self) -> None:
        assert judge({MASS: -0.1, EFFUSION: 0.0}, "kolyan_mass").leading == NO_SPECIFIC_PATHOLOGY

    def test_one_model_of_several_is_evidence_enough(self) -> None:
        assert judge({"pneumothorax": 1.0}, "supervised_pneumothorax").leading == "Pneumothorax"

    def test_a_model_is_held_to_its_own_threshold(self) -> None:
        assert judge({MASS: 1.0}, "kolyan_mass", threshold=0.99).leading == NO_SPECIFIC_PATHOLOGY

    def test_a_model_is_held_to_the_thresholds_of_the_fusion_where_it_brings_any(self) -> None:
        records = make_records(make_features("kolyan_mass"), threshold=0.01)
        strict, lenient, silent = ({StageName.MEDNEXT: table} for table in ({"mass": 0.99}, {"mass": 0.3}, {}))
        led = [
            decide(0.9, POLICY, collect_answers(records, each), {MASS: 1.0}).leading
            for each in (strict, lenient, silent)
        ]
        assert led == [NO_SPECIFIC_PATHOLOGY, "Pulmonary mass", NO_SPECIFIC_PATHOLOGY]

    def test_class_zero_names_nothing(self) -> None:
        decision = judge({MASS: 2.0}, "kolyan_mass", probability=0.1)
        assert (decision.leading, decision.top) == (NO_SPECIFIC_PATHOLOGY, [])

    def test_what_names_nothing_specific_does_not_lead(self) -> None:
        assert judge({"pathological_finding": 3.0}, "ctclip_Pathological finding").leading == NO_SPECIFIC_PATHOLOGY


class TestFindings:
    def test_carry_the_probability_of_every_model_that_speaks_to_them(self) -> None:
        evidence = next(e for e in judge({}, "kolyan_pneumothorax").findings if e.finding.id == "pneumothorax")
        assert set(evidence.probabilities) == {"mednext", "fvlm", "ct_clip", "supervised"}
        assert evidence.probabilities[StageName.MEDNEXT] == LOUD

    def test_are_ranked_by_attribution(self) -> None:
        findings = judge({MASS: 2.0, EFFUSION: -1.0}).findings
        assert (findings[0].finding.id, findings[-1].finding.id) == (MASS, EFFUSION)
        assert [evidence.rank for evidence in findings] == list(range(1, len(findings) + 1))

    def test_normal_is_none(self) -> None:
        assert "normal" not in {evidence.finding.id for evidence in judge({}).findings}

    def test_a_finding_that_no_answering_model_speaks_to_is_left_out(self) -> None:
        records = make_records(make_features(models=(StageName.MEDNEXT,)))
        findings = decide(0.5, POLICY, collect_answers(records), {}).findings
        assert len(findings) == 21

    def test_a_label_without_a_threshold_gives_no_evidence(self) -> None:
        records = make_records(make_features("kolyan_mass", models=(StageName.MEDNEXT,)))
        mednext = replace(records[StageName.MEDNEXT], facts={})
        answers = collect_answers({**records, StageName.MEDNEXT: mednext})
        assert not any(evidence.is_above_threshold for evidence in decide(0.9, POLICY, answers, {}).findings)


class TestMissingModels:
    def test_name_the_reason_that_the_stage_gave(self) -> None:
        ended = {
            StageName.FVLM: (StageState.SKIPPED, "model_not_installed"),
            StageName.CT_CLIP: (StageState.FAILED, "no_lungs_found"),
        }
        answers = collect_answers(make_records(make_features(), ended=ended))
        assert {missing.model: missing.reason for missing in answers.missing} == {
            model: reason for model, (_, reason) in ended.items()
        }

    def test_a_model_without_any_value_did_not_answer(self) -> None:
        present = tuple(model for model in MODELS if model is not StageName.FVLM)
        answers = collect_answers(make_records(make_features(models=present)))
        assert [(missing.model, missing.reason) for missing in answers.missing] == [(StageName.FVLM, NO_VALUES)]

    def test_a_model_of_which_nothing_is_known_is_missing_too(self) -> None:
        assert {missing.reason for missing in collect_answers({}).missing} == {"skipped"}
