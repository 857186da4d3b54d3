"""Training of the fusion, from answered studies to a published entry that the stage loads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_weights.catalogue import ModelEntry
from shared.features import FEATURE_NAMES, MEDNEXT_LABELS
from shared.settings import WeightsProfile
from shared.stages import StageName
from training.fusion import Studies, Trained, publish, train
from training.fusion_booster import BoosterSettings, choose_direction, drop_models
from training.fusion_evaluation import Case, compute_auc, compute_auc_interval, compute_calibration_error
from training.fusion_features import choose_features
from training.fusion_plan import FusionPlan
from training.phantoms import Prevalence, draw_findings
from workers.fusion.aggregates import compute_vector
from workers.fusion.booster import load_booster

PLAN = FusionPlan(training_studies=300, held_out_studies=100, shifted_studies=60, booster=BoosterSettings(trees=40))
MEDNEXT = ModelEntry(
    name="mednext-tests",
    stage=StageName.MEDNEXT,
    version="1",
    weights_profile=WeightsProfile.DEMO,
    architecture={},
    preprocessing={},
    labels=MEDNEXT_LABELS,
    thresholds=dict.fromkeys(MEDNEXT_LABELS, 0.5),
    files={},
    origin="made by a test",
    licence="Apache-2.0",
    card=None,
)


def make_cases(seeds: range) -> list[Case]:
    """Return studies as a good but not perfect MedNeXt would answer them."""
    return [make_case(seed) for seed in seeds]


def make_case(seed: int) -> Case:
    generator = np.random.default_rng(seed)
    truth = tuple(generator.choice(MEDNEXT_LABELS[1:], size=seed % 2, replace=False).tolist())
    answers = {
        f"kolyan_{label}": float(generator.beta(*((8, 2) if label in truth else (1, 12)))) for label in MEDNEXT_LABELS
    }
    answers["kolyan_normal"] = float(generator.beta(*((2, 6) if truth else (6, 2))))
    return Case(seed, answers, truth)


def blind(case: Case, label: str) -> Case:
    """Return the study with an answer for `label` that has nothing to do with it."""
    guess = float(np.random.default_rng(case.seed + 1).random())
    return replace(case, features={**case.features, f"kolyan_{label}": guess})


@pytest.fixture(scope="module")
def trained() -> Trained:
    studies = Studies(make_cases(PLAN.training_seeds), make_cases(PLAN.held_out_seeds), make_cases(PLAN.shifted_seeds))
    return train(PLAN, MEDNEXT, studies)


class TestPlan:
    def test_no_study_is_in_two_sets(self) -> None:
        plan = FusionPlan()
        sets = [set(seeds) for seeds in (plan.training_seeds, plan.held_out_seeds, plan.shifted_seeds)]
        assert len(set.union(*sets)) == sum(len(seeds) for seeds in sets)


class TestTraining:
    def test_the_same_plan_gives_the_same_weights(self, trained: Trained) -> None:
        studies = Studies(
            make_cases(PLAN.training_seeds), make_cases(PLAN.held_out_seeds), make_cases(PLAN.shifted_seeds)
        )
        assert train(PLAN, MEDNEXT, studies).fitted.text == trained.fitted.text

    def test_learns_what_separates_the_studies(self, trained: Trained) -> None:
        assert trained.reports[0].auc > 0.9

    def test_names_the_right_finding_most_of_the_time(self, trained: Trained) -> None:
        leading = trained.reports[0].leading
        assert leading.right > 4 * (leading.wrong + leading.none)

    def test_without_any_answer_the_probability_is_the_share_of_pathological_studies(self, trained: Trained) -> None:
        assert trained.fitted.booster.explain(compute_vector({})).probability == pytest.approx(0.5, abs=0.1)
        assert trained.reports[-1].models == ()
        assert trained.reports[-1].auc == 0.5

    @given(seed=st.integers(0, 500), label=st.sampled_from(MEDNEXT_LABELS), share=st.floats(0, 1))
    def test_a_more_probable_finding_never_lowers_the_score(
        self, trained: Trained, seed: int, label: str, share: float
    ) -> None:
        features = make_case(seed).features
        value = features[f"kolyan_{label}"]
        raised = {**features, f"kolyan_{label}": value + share * (1 - value)}
        low, high = (trained.fitted.booster.explain(compute_vector(each)).raw_score for each in (features, raised))
        assert (low - high if label != "normal" else high - low) <= 1e-9


class TestChoiceOfFeatures:
    def test_a_label_that_does_not_know_its_own_finding_may_not_move_the_score(self) -> None:
        cases = [blind(case, "mass") for case in make_cases(range(400))]
        chosen = choose_features(cases, least_own_auc=0.8)
        assert "kolyan_mass" not in chosen
        assert {"kolyan_nodule", "kolyan_max", "diffusion_reconstruction_max"} <= set(chosen)

    def test_statistics_that_speak_for_all_labels_at_once_are_left_out(self) -> None:
        chosen = choose_features(make_cases(range(400)), least_own_auc=0.8)
        of_labels = [name for name in chosen if not name.startswith("diffusion_")]
        assert not [name for name in of_labels if name.endswith(("_mean", "_std", "_count_high"))]

    def test_normal_names_nothing_and_is_left_out(self) -> None:
        assert "kolyan_normal" not in choose_features(make_cases(range(400)), least_own_auc=0.8)

    def test_what_was_not_chosen_is_never_split_on(self, trained: Trained) -> None:
        chosen = choose_features(make_cases(PLAN.training_seeds), PLAN.least_own_auc)
        assert set(trained.fitted.booster.used_features) <= set(chosen)


class TestPublishing:
    def test_the_entry_loads_and_gives_the_trained_answers(self, trained: Trained, tmp_path: Path) -> None:
        entry = publish(PLAN, MEDNEXT, trained, catalogue=tmp_path / "catalogue.toml")
        vector = compute_vector(trained.held_out[0].features)
        assert load_booster(entry).explain(vector) == trained.fitted.booster.explain(vector)

    def test_the_description_says_how_it_was_made(self, trained: Trained, tmp_path: Path) -> None:
        entry = publish(PLAN, MEDNEXT, trained, catalogue=tmp_path / "catalogue.toml")
        description = json.loads(entry.get_file("description").path.read_text())
        assert description["features"] == list(FEATURE_NAMES)
        assert description["training"]["command"].startswith("python -m training.fusion")
        assert description["measured"][0]["studies"] == PLAN.held_out_studies

    def test_the_card_carries_the_measured_figures(self, trained: Trained, tmp_path: Path) -> None:
        entry = publish(PLAN, MEDNEXT, trained, catalogue=tmp_path / "catalogue.toml")
        assert entry.card is not None
        card = (tmp_path / entry.card).read_text()
        assert f"{trained.reports[0].auc:.3f}" in card
        assert "Not for clinical use" in card


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
