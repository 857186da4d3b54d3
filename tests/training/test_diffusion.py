"""The training of the demo diffusion detector: its examples, batches, fitting, what it measures and publishes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from model_weights.catalogue import load_catalogue
from phantom.study import PhantomSettings
from shared.stages import StageName
from tests.workers.diffusion.tiny import SLICING, TINY
from training.diffusion.__main__ import measure_pixel, train
from training.diffusion.batches import Slices
from training.diffusion.card import MAP, PLAIN, REFINED, Localised, _judge, name_difference
from training.diffusion.evaluation import Scored, measure_slices
from training.diffusion.examples import Example, Task, draw_findings, make_example
from training.diffusion.fitting import Fitting, quieten
from training.diffusion.localisation import Estimate, compute_dice, estimate, find_best_threshold, find_hits
from training.diffusion.mapping import MeanSlice, choose_targets
from training.diffusion.plan import FINDINGS_IN_SLICES, DiffusionPlan, FittingPlan
from workers.diffusion.classifier import SliceClassifier
from workers.diffusion.configuration import Architecture
from workers.diffusion.predictor import Predictor
from workers.diffusion.schedule import Schedule
from workers.diffusion.unet import UNet

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = replace(PhantomSettings.coarse(), matrix=64, slice_spacing_mm=(8.0, 8.0))
PLAN = DiffusionPlan(
    training_studies=2,
    validation_studies=1,
    held_out_studies=3,
    normal_share=0.3,
    last_time=20,
    crop=8,
    whole_steps=1,
    classifier_fitting=FittingPlan(steps=3, batch=4, peak_rate=1e-3),
    unet_fitting=FittingPlan(steps=3, batch=4, peak_rate=1e-3),
    late_fitting=FittingPlan(steps=2, batch=2, peak_rate=1e-3),
    architecture=TINY,
    preprocessing=SLICING,
)


def find_seed(*, is_normal: bool) -> int:
    return next(seed for seed in range(100) if (draw_findings(Task(seed, 0.5, 2)) == ()) == is_normal)


def make_slices(count: int = 12, size: int = 16) -> Example:
    images = np.random.default_rng(0).uniform(-1, 1, (count, size, size)).astype(np.float16)
    states = np.asarray([0, 1, -1] * (count // 3), np.int8)
    return Example(1, images, np.arange(count), states, None, ())


class TestExamples:
    def test_lesions_are_what_the_findings_changed(self) -> None:
        example = make_example(Task(find_seed(is_normal=False), 0.5, 2, is_located=True), SLICING, SMALL)
        assert example.lesions is not None
        assert 0 < example.lesions.mean() < 0.5
        assert set(example.findings) <= set(FINDINGS_IN_SLICES)
        assert not example.lesions[example.states == 0].any()

    def test_a_study_without_findings_is_healthy_throughout(self) -> None:
        example = make_example(Task(find_seed(is_normal=True), 0.5, 2, is_located=True), SLICING, SMALL)
        assert example.lesions is not None
        assert not example.lesions.any()
        assert not example.states.any()
        assert len(example.images) == len(example.numbers) > 10


class TestBatches:
    def test_noise_lies_over_a_slice_as_its_time_says(self) -> None:
        batch = Slices([make_slices()], PLAN).draw_for_unet(np.random.default_rng(0), is_whole=True)
        levels = torch.from_numpy(Schedule.make_linear(1000).levels).float()[batch.times][:, None, None, None]
        clean = (batch.noisy - (1 - levels).sqrt() * batch.noise) / levels.sqrt()
        assert clean.abs().max() <= 1.001
        assert batch.times.max() < PLAN.last_time

    def test_the_classifier_sees_clean_slices_at_time_0_and_both_classes(self) -> None:
        batch = Slices([make_slices()], replace(PLAN, clean_share=1.0)).draw_for_classifier(np.random.default_rng(0))
        assert batch.labels.tolist() == [0, 1, 0, 1]
        assert not batch.times.any()
        assert batch.noisy.abs().max() <= 1.06

    def test_crops_come_before_whole_slices(self) -> None:
        slices, rng = Slices([make_slices()], PLAN), np.random.default_rng(0)
        assert slices.draw_for_unet(rng, is_whole=False).noisy.shape == (4, 1, 8, 8)
        assert slices.draw_for_unet(rng, is_whole=True).noisy.shape == (2, 1, 16, 16)


class TestFitting:
    def fit(self, state: Path, fails_at: int = -1) -> SliceClassifier:
        torch.manual_seed(0)
        network = quieten(SliceClassifier(TINY.classifier)).train()
        slices = Slices([make_slices()], PLAN)

        def compute_loss(classifier: SliceClassifier, rng: np.random.Generator, step: int) -> Tensor:
            if step == fails_at:
                raise KeyboardInterrupt
            batch = slices.draw_for_classifier(rng)
            return torch.nn.functional.cross_entropy(classifier(batch.noisy, batch.times), batch.labels)

        plan = FittingPlan(steps=5, batch=4, peak_rate=1e-3, checkpoint_steps=2)
        return Fitting("classifier", network, plan, 7, compute_loss).run(state, lambda _: None)

    def test_a_run_that_was_cut_off_ends_with_the_same_weights(self, tmp_path: Path) -> None:
        whole, cut = tmp_path / "whole", tmp_path / "cut"
        whole.mkdir()
        cut.mkdir()
        expected = self.fit(whole)
        with pytest.raises(KeyboardInterrupt):
            self.fit(cut, fails_at=3)
        resumed = self.fit(cut)
        pairs = zip(resumed.state_dict().values(), expected.state_dict().values(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)

    def test_residual_branches_begin_as_nothing(self) -> None:
        unet = quieten(UNet(TINY.unet))
        noise, variance = unet(torch.rand(1, 1, 16, 16), torch.tensor([3]), torch.tensor([0]))
        assert not noise.any()
        assert not variance.any()


class TestLocalisation:
    def make(self) -> tuple[np.ndarray, np.ndarray]:
        maps, lesions = np.zeros((2, 6, 6), np.float32), np.zeros((2, 6, 6), bool)
        lesions[:, 1:3, 1:3] = True
        maps[0, 1:3, 1:4] = 100
        maps[0, 1, 1] = 200
        maps[1, 5, 5] = 300
        return maps, lesions

    def test_a_hit_is_a_peak_in_the_lesion(self) -> None:
        assert find_hits(*self.make()).tolist() == [1, 0]

    def test_dice_is_that_of_the_pixels_over_the_threshold(self) -> None:
        assert compute_dice(*self.make(), 50.0) == pytest.approx([2 * 4 / (6 + 4), 0.0])

    def test_the_best_threshold_is_found(self) -> None:
        maps, lesions = self.make()
        noise = np.random.default_rng(0).uniform(0, 60, maps.shape).astype(np.float32)
        best = find_best_threshold(maps[:1] + noise[:1], lesions[:1])
        assert 50 < best < 120

    def test_slices_of_one_study_are_one_draw(self) -> None:
        values = np.asarray([1.0, 1.0, 0.0, 0.0])
        together, apart = estimate(values, [1, 1, 2, 2], 0), estimate(values, [1, 2, 3, 4], 0)
        assert (together.value, apart.value) == (0.5, 0.5)
        assert (together.low, together.high) == (0.0, 1.0)
        assert apart.low >= together.low

    def test_the_baseline_is_the_mean_of_healthy_slices(self) -> None:
        example = make_slices()
        baseline = MeanSlice([example], 20)
        located = replace(example, lesions=np.ones(example.images.shape, bool))
        targets = choose_targets([located], 12)
        healthy = np.flatnonzero(example.states[targets.numbers] == 0)
        assert np.abs(baseline.make_maps(targets)[healthy]).max() < 1e-3
        assert baseline.make_maps(targets).max() > 500


class TestEvaluation:
    def test_the_auc_of_slices_is_that_over_all_pairs(self) -> None:
        rng = np.random.default_rng(0)
        studies = [
            Scored(seed, True, rng.random(9), np.asarray([0, 1, -1] * 3, np.int8) if seed else np.zeros(9, np.int8))
            for seed in range(4)
        ]
        truth, scores = (np.concatenate([getattr(each, name) for each in studies]) for name in ("truth", "scores"))
        found = measure_slices(studies)
        assert found.value == pytest.approx(roc_auc_score(truth[truth >= 0], scores[truth >= 0]))
        assert found.low < found.value < found.high


class TestTraining:
    def test_it_publishes_a_detector_that_is_served_with_a_card_of_what_was_measured(self, tmp_path: Path) -> None:
        catalogue = tmp_path / "weights" / "catalogue.toml"
        entry = train(PLAN, tmp_path / "state", catalogue, processes=0)
        assert load_catalogue(catalogue) == (entry,)
        assert entry.stage is StageName.DIFFUSION
        assert Architecture.from_table(entry.architecture).map.is_body_only
        Predictor(entry, torch.device("cpu"))
        card = (catalogue.parent / str(entry.card)).read_text()
        assert "Demo, phantoms only, not for clinical use." in card
        assert "map minus plain baseline" in card

    def test_no_study_is_seen_twice(self) -> None:
        plan = DiffusionPlan()
        seeds = [*plan.training_seeds, *plan.validation_seeds, *plan.held_out_seeds]
        assert len(seeds) == len(set(seeds))

    def test_a_pixel_is_as_large_as_the_grid_says(self) -> None:
        assert measure_pixel(DiffusionPlan()) == (5.0, 3.75)


class TestVerdict:
    def judge(self, low: float) -> str:
        better = Estimate(0.2, low, 0.3)
        values = dict.fromkeys((MAP, PLAIN, REFINED, name_difference(PLAIN), name_difference(REFINED)), better)
        return _judge(Localised(9, 3, values, values))

    def test_a_baseline_is_beaten_only_where_the_whole_interval_says_so(self) -> None:
        assert "beats neither baseline" in self.judge(-0.01)
        assert "beats the plain baseline and the refined baseline" in self.judge(0.01)
