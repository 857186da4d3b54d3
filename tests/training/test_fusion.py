"""Training of the fusion, from answered studies to a published entry that the stage loads."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model_weights.catalogue import load_catalogue
from model_weights.policies import FindingThresholds
from phantom.dicom import write_zip
from phantom.study import FINDINGS, make_study
from shared.features import FEATURE_NAMES, LABELS, MEDNEXT_LABELS, get_model
from shared.findings import FINDING_OF_LABEL
from shared.stages import StageName
from tests.training.answered import MODELS, make_case, make_cases, make_here
from tests.workers.fvlm.studies import make_masked_study
from tests.workers.fvlm.tiny import convert, make_state
from training.evaluation.answers import ask_models, compute_recipe_digest
from training.evaluation.case import Case, name_findings
from training.evaluation.distribution import find_distribution
from training.evaluation.measures import compare_areas, compute_auc, compute_auc_interval, compute_calibration_error
from training.evaluation.models import AskedModel
from training.evaluation.studies import ask_about_studies
from training.evaluation.weights import WeightSet
from training.examples import draw_settings
from training.fusion import Studies, publish, train
from training.fusion_booster import BoosterSettings, choose_direction, drop_models
from training.fusion_card import Trained
from training.fusion_evidence import choose_evidence
from training.fusion_features import choose_features
from training.fusion_fitting import list_subsets
from training.fusion_plan import FusionPlan
from training.mednext_plan import MedNeXtPlan
from training.phantoms import Prevalence, draw_findings
from workers.fusion.aggregates import compute_vector
from workers.fusion.booster import FusionBooster, load_booster
from workers.fvlm.features import name_features
from workers.fvlm.organs import Organ
from workers.fvlm.predictor import Predictor

PLAN = FusionPlan(training_studies=300, held_out_studies=100, shifted_studies=60, booster=BoosterSettings(trees=40))


def make_studies() -> Studies:
    return Studies(make_cases(PLAN.training_seeds), make_cases(PLAN.held_out_seeds), make_cases(PLAN.shifted_seeds))


def blind(case: Case, feature: str) -> Case:
    """Return the study with an answer that has nothing to do with it."""
    guess = float(np.random.default_rng(case.number + 1).random())
    return replace(case, features={**case.features, feature: guess})


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train(PLAN, MODELS, make_studies())


class TestPlan:
    def test_no_study_is_in_two_sets(self) -> None:
        plan = FusionPlan()
        sets = [set(seeds) for seeds in (plan.training_seeds, plan.held_out_seeds, plan.shifted_seeds)]
        assert len(set.union(*sets)) == sum(len(seeds) for seeds in sets)


class TestTraining:
    def test_the_same_plan_gives_the_same_weights(self, trained: Trained) -> None:
        assert train(PLAN, MODELS, make_studies()).fitted.text == trained.fitted.text

    def test_learns_what_separates_the_studies(self, trained: Trained) -> None:
        assert trained.reports[0].auc > 0.9

    def test_names_the_right_finding_most_of_the_time(self, trained: Trained) -> None:
        leading = trained.reports[0].leading
        assert leading.right > 4 * (leading.wrong + leading.none)

    def test_every_model_moves_the_score(self, trained: Trained) -> None:
        assert {get_model(name) for name in trained.fitted.booster.used_features} == {each.stage for each in MODELS}

    def test_without_any_answer_the_probability_is_the_share_of_pathological_studies(self, trained: Trained) -> None:
        assert trained.fitted.booster.explain(compute_vector({})).probability == pytest.approx(0.5, abs=0.1)

    @given(seed=st.integers(0, 500), label=st.sampled_from(MEDNEXT_LABELS), share=st.floats(0, 1))
    def test_a_more_probable_finding_never_lowers_the_score(
        self, trained: Trained, seed: int, label: str, share: float
    ) -> None:
        features = make_case(seed).features
        value = features[f"kolyan_{label}"]
        raised = {**features, f"kolyan_{label}": value + share * (1 - value)}
        low, high = (trained.fitted.booster.explain(compute_vector(each)).raw_score for each in (features, raised))
        assert (low - high if label != "normal" else high - low) <= 1e-9


class TestReports:
    def test_there_is_one_for_each_subset_that_a_job_may_end_with(self) -> None:
        one, two, three = StageName.CT_CLIP, StageName.SUPERVISED, StageName.MEDNEXT
        pairs = [(two, three), (one, three), (one, two)]
        assert list_subsets((one, two, three)) == [(one, two, three), (one,), (two,), (three,), *pairs, ()]
        assert list_subsets((one, two)) == [(one, two), (one,), (two,), ()]
        assert list_subsets((one,)) == [(one,), ()]

    def test_nothing_is_told_apart_without_any_answer(self, trained: Trained) -> None:
        assert trained.reports[-1].models == ()
        assert trained.reports[-1].auc == 0.5

    def test_all_models_are_compared_with_the_best_single_one(self, trained: Trained) -> None:
        alone: dict[tuple[StageName, ...], float] = {
            report.models: report.auc for report in trained.reports if len(report.models) == 1
        }
        best = trained.comparisons[0]
        assert alone[best.others] == max(alone.values())
        assert best.paired.difference == trained.reports[0].auc - alone[best.others]
        assert best.paired.interval[0] <= best.paired.difference <= best.paired.interval[1]


class TestChoiceOfFeatures:
    @pytest.mark.parametrize("feature", ["kolyan_mass", "ctclip_Pleural effusion"])
    def test_a_label_that_does_not_know_its_own_finding_may_not_move_the_score(self, feature: str) -> None:
        cases = [blind(case, feature) for case in make_cases(range(600))]
        chosen = choose_features(cases, least_own_auc=0.8)
        assert feature not in chosen
        others = {"kolyan_nodule", "ctclip_Pneumothorax", "kolyan_max", "diffusion_reconstruction_max"}
        assert others <= set(chosen)

    def test_a_label_that_phantoms_never_show_may_not_move_the_score(self) -> None:
        assert "ctclip_Sarcoidosis" not in choose_features(make_cases(range(400)), least_own_auc=0.8)

    def test_statistics_that_speak_for_all_labels_at_once_are_left_out(self) -> None:
        chosen = choose_features(make_cases(range(400)), least_own_auc=0.8)
        of_labels = [name for name in chosen if not name.startswith("diffusion_")]
        assert not [name for name in of_labels if name.endswith(("_mean", "_std", "_count_high"))]

    def test_normal_names_nothing_and_is_left_out(self) -> None:
        assert "kolyan_normal" not in choose_features(make_cases(range(400)), least_own_auc=0.8)

    def test_what_was_not_chosen_is_never_split_on(self, trained: Trained) -> None:
        chosen = choose_features(make_cases(PLAN.training_seeds), PLAN.least_own_auc)
        assert set(trained.fitted.booster.used_features) <= set(chosen)


@pytest.fixture(scope="module")
def evidence() -> FindingThresholds:
    """Thresholds chosen where a label guesses."""
    cases = [blind(case, "kolyan_mass") for case in make_cases(range(600))]
    return choose_evidence(cases, least_own_auc=0.8, least_specificity=0.98)


class TestEvidence:
    def test_is_told_by_labels_that_know_their_finding_among_others(self, evidence: FindingThresholds) -> None:
        assert set(evidence) == {entry.stage for entry in MODELS}
        assert "mass" not in evidence[StageName.MEDNEXT]
        assert "normal" not in evidence[StageName.MEDNEXT]
        assert {"nodule", "pneumothorax", "consolidation"} <= set(evidence[StageName.MEDNEXT])

    def test_is_rarely_given_by_studies_with_other_findings(self, evidence: FindingThresholds) -> None:
        others = [case for case in make_cases(range(601, 1401)) if case.is_pathological]
        for label, threshold in evidence[StageName.MEDNEXT].items():
            finding = FINDING_OF_LABEL[StageName.MEDNEXT, label].id
            told = [case.features[f"kolyan_{label}"] >= threshold for case in others if finding not in case.truth]
            assert np.mean(told) < 0.06, label

    def test_goes_with_the_weights(self, trained: Trained, tmp_path: Path) -> None:
        entry = publish(trained, catalogue=tmp_path / "catalogue.toml")
        assert load_booster(entry).thresholds == trained.fitted.booster.thresholds
        assert trained.fitted.booster.thresholds

    @pytest.mark.parametrize("chosen", [None, {}], ids=["not chosen", "none is"])
    def test_is_left_to_the_models_only_where_it_was_not_chosen(
        self, trained: Trained, tmp_path: Path, chosen: FindingThresholds | None
    ) -> None:
        booster = FusionBooster(trained.fitted.text, trained.fitted.booster.features, thresholds=chosen)
        fitted = replace(trained.fitted, booster=booster)
        entry = publish(replace(trained, fitted=fitted), catalogue=tmp_path / "catalogue.toml")
        assert load_booster(entry).thresholds == chosen


class TestPublishing:
    def test_the_entry_loads_and_gives_the_trained_answers(self, trained: Trained, tmp_path: Path) -> None:
        entry = publish(trained, catalogue=tmp_path / "catalogue.toml")
        vector = compute_vector(trained.held_out[0].features)
        assert load_booster(entry).explain(vector) == trained.fitted.booster.explain(vector)

    def test_the_description_says_how_it_was_made(self, trained: Trained, tmp_path: Path) -> None:
        entry = publish(trained, catalogue=tmp_path / "catalogue.toml")
        description = json.loads(entry.get_file("description").path.read_text())
        assert description["features"] == list(FEATURE_NAMES)
        assert description["training"]["command"].startswith("python -m training.fusion")
        assert description["training"]["models"] == {entry.stage: entry.digest for entry in MODELS}
        assert description["measured"][0]["studies"] == PLAN.held_out_studies

    def test_the_card_carries_the_measured_figures(self, trained: Trained, tmp_path: Path) -> None:
        entry = publish(trained, catalogue=tmp_path / "catalogue.toml")
        assert entry.card is not None
        card = (tmp_path / entry.card).read_text()
        assert f"{trained.reports[0].auc:.3f}" in card
        assert f"{trained.comparisons[0].paired.difference:+.3f}" in card
        assert all(entry.digest[:12] in card for entry in MODELS)
        assert "Not for clinical use" in card


SICK = replace(find_distribution("heldout"), prevalence=Prevalence(normal=0.0))


def ask_about_two(folder: Path) -> list[Case]:
    return ask_models((3, 4), SICK, WeightSet(), folder, processes=1)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers of all demo models on two studies, which take them a while."""
    folder = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("training.evaluation.answers.make_ahead", make_here)
        ask_about_two(folder)
    return folder


class TestAsking:
    @pytest.fixture(autouse=True)
    def here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("training.evaluation.answers.make_ahead", make_here)

    def test_every_demo_model_answers_every_study(self, kept: Path) -> None:
        cases = ask_about_two(kept)
        assert [case.number for case in cases] == [3, 4]
        for case in cases:
            assert {get_model(name) for name in case.features} == {entry.stage for entry in WeightSet().models}
            assert case.truth
            assert case.truth <= name_findings(FINDINGS)

    def test_only_a_model_without_an_answer_is_asked(self, kept: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(kept, tmp_path / "kept"))
        cases = ask_about_two(folder)
        (missing,) = folder.glob("*/mednext-*/3.json")
        others = [path for path in folder.glob("*/*/*.json") if path != missing]
        before = [path.stat().st_mtime_ns for path in others]
        missing.unlink()
        assert ask_about_two(folder) == cases
        assert missing.exists()
        assert [path.stat().st_mtime_ns for path in others] == before

    def test_a_seed_of_the_training_is_the_study_that_models_learn_from_with_look_alikes(self) -> None:
        share = MedNeXtPlan().distractor_share
        drawn = [find_distribution("train").draw_scanner(seed).settings for seed in range(200)]
        assert drawn == [replace(draw_settings(seed), distractor_share=share) for seed in range(200)]
        assert len(set(drawn)) == 2

    def test_a_study_of_a_table_is_read_as_an_upload_and_answered_alike(self, kept: Path, tmp_path: Path) -> None:
        asked = ask_about_two(kept)[0]
        drawn = draw_findings(3, SICK.prevalence)
        write_zip(make_study(3, drawn, SICK.draw_scanner(3).settings), tmp_path / "study.zip")
        (tmp_path / "broken.zip").write_bytes(b"no archive")
        table = tmp_path / "truth.csv"
        table.write_text("path,pathology,pleural_effusion\nstudy.zip,1,\nbroken.zip,0,0\nabsent.zip,0,0\n")
        cases, left_out = ask_about_studies(table, None, WeightSet(), tmp_path / "kept", processes=1)
        assert [(each.line, each.code) for each in left_out] == [(3, "not_an_archive"), (4, "not_found")]
        assert cases[0].features == pytest.approx(asked.features, abs=2e-3)
        assert cases[0].scan == asked.scan
        assert cases[0].is_pathological
        assert "pleural_effusion" in cases[0].unknown
        assert ask_about_studies(table, None, WeightSet(), tmp_path / "kept", processes=1) == (cases, left_out)

    def test_another_scanner_is_another_study(self) -> None:
        assert compute_recipe_digest(SICK) != compute_recipe_digest(find_distribution("shifted"))


@pytest.fixture(scope="module")
def masked_catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo fVLM alone."""
    folder = tmp_path_factory.mktemp("fvlm")
    assert convert(folder, make_state()).exit_code == 0
    path = folder / "weights" / "catalogue.toml"
    path.write_text(path.read_text().replace('"weights_profile" = "full"', '"weights_profile" = "demo"'))
    return path


class TestMaskedModel:
    def test_without_a_segmentation_it_is_not_asked_as_in_a_job(self, masked_catalogue: Path) -> None:
        with pytest.raises(LookupError, match="no demo model"):
            _ = WeightSet(masked_catalogue).models

    def test_it_is_asked_with_masks_and_what_it_does_not_know_is_left_out(self, masked_catalogue: Path) -> None:
        (entry,) = load_catalogue(masked_catalogue)
        asked = AskedModel(entry, Predictor(entry, torch.device("cpu")), name_features)
        study = make_masked_study(3)
        whole = asked.ask(study.volume, lambda: study.labels)
        assert len(whole) == len(LABELS[StageName.FVLM])
        without_aorta = asked.ask(study.volume, lambda: study.leave_out({Organ.AORTA}).labels)
        assert whole.keys() - without_aorta.keys() == {"okhr_Arterial wall calcification", "okhr_Aortic aneurysm"}
        assert asked.ask(study.volume, lambda: np.zeros_like(study.labels)) == {}


class TestDirections:
    @pytest.mark.parametrize(
        ("feature", "direction"),
        [
            ("kolyan_mass", 1),
            ("kolyan_max", 1),
            ("kolyan_normal", -1),
            ("ctclip_group_airways_std", 0),
            ("diffusion_reconstruction_mean", 0),
            ("diffusion_classifier_std_probability", 0),
        ],
    )
    def test_follow_what_the_feature_means(self, feature: str, direction: int) -> None:
        assert choose_direction(feature) == direction


class TestDropping:
    def test_takes_whole_models(self) -> None:
        features = {"kolyan_mass": 0.1, "kolyan_nodule": 0.2, "okhr_Emphysema": 0.3}
        generator = np.random.default_rng(1)
        models = (StageName.MEDNEXT, StageName.FVLM)
        kept = {tuple(drop_models(features, models, rate=0.5, generator=generator)) for _ in range(50)}
        assert kept == {tuple(features), ("kolyan_mass", "kolyan_nodule"), ("okhr_Emphysema",), ()}


class TestMeasures:
    def test_the_area_counts_pairs_in_the_right_order_and_ties_half(self) -> None:
        labels = np.array([True, True, False, False])
        assert compute_auc(labels, np.array([0.9, 0.5, 0.5, 0.1])) == (1 + 1 + 1 + 0.5) / 4

    def test_calibrated_probabilities_have_no_error(self) -> None:
        labels = np.array([True, False] * 50)
        assert compute_calibration_error(labels, np.full(100, 0.5)) == 0

    def test_overconfidence_is_an_error(self) -> None:
        assert compute_calibration_error(np.array([True, False]), np.array([1.0, 1.0])) == 0.5

    def test_the_interval_holds_the_area_and_narrows_with_more_studies(self) -> None:
        generator = np.random.default_rng(3)
        widths = []
        for count in (40, 400):
            labels = np.arange(count) % 2 == 0
            low, high = compute_auc_interval(labels, labels * 0.3 + generator.random(count), seed=1)
            assert 0.5 < low < high <= 1
            widths.append(high - low)
        assert widths[1] < widths[0]

    def test_a_paired_difference_is_told_apart_sooner_than_two_intervals_are(self) -> None:
        generator = np.random.default_rng(4)
        labels = np.arange(200) % 2 == 0
        weak = labels * 0.3 + generator.random(200)
        strong = weak + labels * 0.15
        paired = compare_areas(labels, strong, weak, seed=1)
        assert 0 < paired.interval[0] < paired.difference < paired.interval[1]
        assert paired.p < 0.01
        assert compute_auc_interval(labels, strong, 1)[0] < compute_auc_interval(labels, weak, 1)[1]


class TestFindings:
    def test_are_the_same_for_the_same_seed(self) -> None:
        assert draw_findings(7, Prevalence()) == draw_findings(7, Prevalence())

    def test_keep_the_share_of_normal_studies(self) -> None:
        drawn = [draw_findings(seed, Prevalence(normal=0.3)) for seed in range(2000)]
        assert sum(not findings for findings in drawn) / len(drawn) == pytest.approx(0.3, abs=0.04)
        assert max(len(findings) for findings in drawn) == 3

    def test_are_never_repeated(self) -> None:
        assert all(len(set(f)) == len(f) for f in (draw_findings(seed, Prevalence(normal=0)) for seed in range(200)))

    def test_of_a_normal_study_are_none(self) -> None:
        assert draw_findings(1, replace(Prevalence(), normal=1.0)) == ()
