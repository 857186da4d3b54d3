"""The evaluation: distributions from files, figures of weights on answered studies, calibration by who answered."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model_weights.policies import Policy
from phantom.anatomy.plan import AnatomyRanges
from shared.errors import Defect
from shared.features import get_model
from shared.findings import FINDINGS
from shared.settings import WeightsProfile
from shared.stages import StageName
from tests.training.answered import MODELS, make_cases, make_entry
from training.evaluation.case import Case, LeftOut
from training.evaluation.distribution import FOLDER, find_distribution, read_distribution
from training.evaluation.document import Evaluation, make_document
from training.evaluation.html import write_page
from training.evaluation.measures import compare_areas, compute_calibration_error, list_bins
from training.evaluation.outcome import SEED, Outcome, list_allowed_subsets, measure
from training.evaluation.reports import evaluate, list_truth
from training.evaluation.weights import Ensemble, WeightSet
from training.fusion_booster import BoosterSettings, FittedBooster, drop_models, fit_booster
from training.fusion_calibration import fit_calibration, fit_line
from workers.drift.scan import Scan
from workers.fusion.aggregates import compute_vector
from workers.fusion.booster import FusionBooster

STAGES = tuple(entry.stage for entry in MODELS)
POLICY = Policy(name="tests", version="1", threshold=0.5, minimum_models=1)
SETTINGS = BoosterSettings(trees=40)
SHIPPED = (FOLDER / "heldout.toml").read_text()


def fit(cases: Sequence[Case]) -> FittedBooster:
    generator = np.random.default_rng(1)
    dropped = [
        replace(case, features=drop_models(case.features, STAGES, rate=0.4, generator=generator)) for case in cases
    ]
    copies = [*cases, *dropped]
    return fit_booster(
        [compute_vector(case.features) for case in copies], [int(case.is_pathological) for case in copies], SETTINGS
    )


def fit_one(cases: Sequence[Case]) -> FusionBooster:
    return fit(cases).booster


def make_ensemble(booster: FusionBooster) -> Ensemble:
    return Ensemble(WeightSet(Path("unused"), WeightsProfile.DEMO), MODELS, make_entry(StageName.FUSION), booster)


@pytest.fixture(scope="module")
def fitted() -> FittedBooster:
    return fit(make_cases(range(300)))


@pytest.fixture(scope="module")
def outcome(fitted: FittedBooster) -> Outcome:
    thin = Scan.from_facts({"manufacturer": "SIEMENS", "kernel": ["B70f"], "slice_thickness_mm": 1.0})
    cases = [replace(case, scan=thin) if case.number % 3 else case for case in make_cases(range(1000, 1120))]
    return measure(make_ensemble(fitted.booster), cases, POLICY)


class TestDistributions:
    @pytest.mark.parametrize("name", ["train", "heldout", "shifted"])
    def test_those_of_the_platform_can_be_read(self, name: str) -> None:
        assert find_distribution(name).name == name

    def test_held_out_studies_are_drawn_as_those_of_the_training(self) -> None:
        assert find_distribution("heldout").describe_drawing() == find_distribution("train").describe_drawing()

    def test_shifted_studies_are_of_other_patients_too(self) -> None:
        train, shifted = (find_distribution(name).scanners[0].settings for name in ("train", "shifted"))
        assert train.anatomy == AnatomyRanges() != shifted.anatomy
        assert 0 < train.distractor_share < shifted.distractor_share

    def test_of_some_shifted_studies_the_gantry_leans(self) -> None:
        leans = [scanner.settings.gantry_tilt_degrees != (0, 0) for scanner in find_distribution("shifted").scanners]
        assert leans == [False, True]

    @pytest.mark.parametrize(
        ("said", "other", "told"),
        [
            ("normal = 0.5", 'normal = "half"', "findings.normal"),
            ("normal = 0.5", "normal = 0.5\nhabitus = 1", "findings.habitus"),
            ("matrix = 96", "matrix = 96.5", "scanners.1.matrix"),
            ("matrix = 96", "matrix = 9", "at least 64"),
            ("share = 0.85", "share = 0.8", "add up to 1"),
            ('"LUNG"', '"SHARPEST"', "kernels"),
            ("share = 0.1\n", "share = 1.1\n", "distractors.share"),
            ("[findings]", "[anatomy]\nheight = 0\n[findings]", "anatomy.height"),
        ],
    )
    def test_a_field_that_is_wrong_is_named(self, tmp_path: Path, said: str, other: str, told: str) -> None:
        path = tmp_path / "own.toml"
        path.write_text(SHIPPED.replace(said, other))
        with pytest.raises(Defect, match=f"own.toml: .*{told}"):
            read_distribution(path)

    def test_an_unknown_name_says_which_there_are(self) -> None:
        with pytest.raises(Defect, match="heldout"):
            find_distribution("elsewhere")


class TestOutcome:
    def test_every_allowed_subset_is_measured(self, outcome: Outcome) -> None:
        assert [each.models for each in outcome.subsets] == [STAGES, (StageName.CT_CLIP,), (StageName.MEDNEXT,)]

    def test_a_policy_may_allow_fewer(self) -> None:
        three = (StageName.CT_CLIP, StageName.SUPERVISED, StageName.MEDNEXT)
        allowing = replace(POLICY, allowed_subsets=(three, three[:2]))
        assert list_allowed_subsets(three, allowing) == [three, three[:2]]
        assert list_allowed_subsets(three, replace(POLICY, minimum_models=3)) == [three]

    def test_attributions_add_up_to_the_raw_score_on_every_study(self, outcome: Outcome) -> None:
        assert outcome.largest_sum_error <= 1e-6

    def test_the_document_begins_with_what_scripts_rely_on(self, outcome: Outcome) -> None:
        told = make_document(Evaluation("made up", outcome, None, None, ()))
        assert [*told][:7] == [
            "n", "auc", "auc_interval", "auc_by_model", "ece", "leading_finding_correct", "seconds_per_study",
        ]  # fmt: skip
        assert told["n"] == 120
        assert told["auc_by_model"].keys() == {"ct_clip", "mednext"}
        assert told["better_than_each_model"]["ct_clip"]["p"] <= 1
        assert json.loads(json.dumps(told, allow_nan=False))["auc"] == told["auc"]

    def test_a_leading_finding_that_nobody_looked_for_is_not_held_against_the_weights(
        self, fitted: FittedBooster
    ) -> None:
        cases = make_cases(range(1000, 1120))
        unknown = frozenset(finding.id for finding in FINDINGS)
        untold = [replace(case, truth=frozenset(), unknown=unknown) for case in cases]
        told, not_told = (measure(make_ensemble(fitted.booster), each, POLICY).whole for each in (cases, untold))
        assert told.leading.untold == 0
        assert told.leading_share is not None
        assert not_told.leading.right == not_told.leading.wrong == 0
        assert not_told.leading.untold + not_told.leading.none == not_told.pathological

    def test_the_cost_of_a_model_is_what_the_others_lose_without_it(self, outcome: Outcome) -> None:
        cost = make_document(Evaluation("made up", outcome, None, None, ()))["cost_of_each_model"]
        alone = {each.models[0]: each.auc for each in outcome.alone}
        assert cost["mednext"]["auc_difference"] == outcome.whole.auc - alone[StageName.CT_CLIP]

    def test_figures_are_broken_down_by_how_studies_were_scanned(self, outcome: Outcome) -> None:
        parts = {(each.facet, each.value): each for each in outcome.parts}
        assert parts["kernel", "lung"].studies == 80
        assert parts["thickness", "unknown"].studies == 40
        assert parts["scanner", "siemens"].auc is not None

    def test_a_finding_has_a_row_for_each_model_that_speaks_of_it(self, outcome: Outcome) -> None:
        speaking = {model for each in outcome.findings for model in each.models}
        assert speaking <= set(STAGES)
        assert all(each.present for each in outcome.findings)

    def test_the_page_stands_by_itself(self, outcome: Outcome) -> None:
        paired = compare_areas(np.array([True, False] * 9), np.arange(18.0), np.arange(18.0), SEED)
        left_out = [LeftOut(3, "no_truth", "<b>nothing</b>")]
        page = write_page(Evaluation("made up", outcome, outcome, paired, left_out))
        assert "<svg" in page
        assert "&lt;b&gt;nothing" in page
        assert "http" not in page
        assert "<script" not in page

    def test_studies_of_one_kind_are_refused(self, fitted: FittedBooster) -> None:
        with pytest.raises(Defect, match="of one kind"):
            measure(make_ensemble(fitted.booster), make_cases(range(0, 20, 2)), POLICY)


class TestMeasures:
    def test_equal_scores_do_not_differ(self) -> None:
        labels = np.arange(60) % 2 == 0
        scores = np.random.default_rng(1).random(60)
        assert compare_areas(labels, scores, scores, SEED).p == 1

    def test_bins_hold_every_study_once(self) -> None:
        labels, told = np.arange(50) % 2 == 0, np.linspace(0, 1, 50)
        assert sum(each.studies for each in list_bins(labels, told)) == 50


class TestCalibration:
    def test_a_line_mends_overconfidence(self) -> None:
        generator = np.random.default_rng(2)
        scores = generator.normal(0, 1.5, 4000)
        truth = generator.random(4000) < 1 / (1 + np.exp(-scores))
        slope, intercept = fit_line(3 * scores + 1, truth)
        assert slope == pytest.approx(1 / 3, rel=0.1)
        assert intercept == pytest.approx(-1 / 3, abs=0.15)

    def test_scores_that_tell_nothing_become_the_share_of_pathology(self) -> None:
        truth = np.arange(100) < 20
        slope, intercept = fit_line(np.full(100, 1.7), truth)
        assert slope * 1.7 + intercept == pytest.approx(math.log(0.2 / 0.8))

    def test_few_answers_are_calibrated_by_their_own_line(self, fitted: FittedBooster) -> None:
        cases = make_cases(range(300))
        calibration = fit_calibration(cases, STAGES, fit_one, folds=3)
        assert {line.models for line in calibration} == {(), *((stage,) for stage in STAGES), STAGES}
        assert all(line.slope > 0 for line in calibration)
        others = make_cases(range(2000, 2400))
        thresholds = {entry.stage: entry.thresholds for entry in MODELS}
        errors = [
            evaluate(booster, others, POLICY, thresholds, models=STAGES[:1], scanner="", seed=1).calibration_error
            for booster in (fitted.booster, fitted.complete(calibration, {}).booster)
        ]
        assert errors[1] < max(errors[0], 0.08)

    def test_studies_of_one_patient_are_never_parted(self) -> None:
        cases = make_cases(range(90))
        patients = [case.number // 3 for case in cases]
        fitted_to: list[set[int]] = []

        def note(some: Sequence[Case]) -> FusionBooster:
            fitted_to.append({case.number for case in some})
            return fit_one(some)

        fit_calibration(cases, STAGES, note, folds=3, groups=patients)
        for numbers in fitted_to:
            left_out = {number // 3 for number in range(90)} - {number // 3 for number in numbers}
            assert len(left_out) == 10
            assert not left_out & {number // 3 for number in numbers}
            assert len(numbers) == 60

    def test_the_policy_of_a_site_may_bring_its_own(self, fitted: FittedBooster) -> None:
        case = make_cases(range(1))[0]
        vector = compute_vector({name: value for name, value in case.features.items() if get_model(name) is STAGES[0]})
        plain = fitted.booster.explain(vector)
        own = replace(POLICY, calibration=fit_calibration(make_cases(range(90)), STAGES, fit_one, folds=2))
        told = fitted.booster.explain(vector, own.calibration)
        assert plain.calibration is None
        assert told.calibration is not None
        assert told.calibration.models == STAGES[:1]
        assert told.raw_score == plain.raw_score
        expected = told.calibration.slope * told.raw_score + told.calibration.intercept
        assert math.log(told.probability / (1 - told.probability)) == pytest.approx(expected)

    def test_calibration_error_is_over_all_studies(self) -> None:
        truth = list_truth(make_cases(range(4)))
        assert compute_calibration_error(truth, np.full(4, truth.mean())) == 0
