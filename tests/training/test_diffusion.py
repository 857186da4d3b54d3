"""The training of the demo diffusion detector: its examples, batches, fitting, what it measures and publishes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from model_weights.catalogue import load_catalogue
from phantom.study import FINDINGS, PhantomSettings
from shared.stages import StageName
from tests.workers.diffusion.tiny import SLICING, TINY
from training.diffusion.__main__ import measure_pixel, train
from training.diffusion.batches import Slices
from training.diffusion.card import MAP, PLAIN, REFINED, Localised, _judge, name_difference
from training.diffusion.evaluation import Scored, measure_findings, measure_slices
from training.diffusion.examples import (
    Example,
    Task,
    draw_findings_in_slices,
    find_states,
    iterate_examples,
    judge_states,
    make_example,
)
from training.diffusion.fitting import Fitting, FittingTask, Report, fit_classifier, quieten
from training.diffusion.localisation import Estimate, compute_dice, estimate, find_best_threshold, find_hits
from training.diffusion.locating import LocatingClassifier, compute_located_loss
from training.diffusion.mapping import MeanSlice, choose_targets
from training.diffusion.pairs import FindingPairs, LocatedBatch, group_by_finding
from training.diffusion.plan import FINDINGS_IN_SLICES, SMALL_FINDINGS, DiffusionPlan, FittingPlan
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
    classifier_studies=6,
    first_classifier_seed=2_600_048,  # one of these shows a small finding even on this grid
    classifier_held_out_studies=8,
    last_time=20,
    crop=8,
    whole_steps=1,
    small_fitting=FittingPlan(steps=2, batch=4, peak_rate=1e-3),
    classifier_fitting=FittingPlan(steps=3, batch=4, peak_rate=1e-3),
    unet_fitting=FittingPlan(steps=3, batch=4, peak_rate=1e-3),
    late_fitting=FittingPlan(steps=2, batch=2, peak_rate=1e-3),
    architecture=TINY,
    preprocessing=SLICING,
)


def make_slices(count: int = 12, size: int = 16) -> Example:
    """Return slices of which the second of each three shows something of 4 x 4 pixels: a mass below, a nodule above."""
    healthy = np.random.default_rng(0).uniform(-1, 0.3, (count, size, size)).astype(np.float16)
    states = np.asarray([0, 1, -1] * (count // 3), np.int8)
    lesions = np.zeros(healthy.shape, bool)
    lesions[states == 1, 5:9, 7:11] = True
    images = np.where(lesions, healthy + np.float16(0.5), healthy).astype(np.float16)
    is_above = np.arange(count) >= count // 2
    spans = np.stack([~is_above, is_above])
    return Example(1, images, np.arange(count), states, healthy, lesions, ("mass", "nodule"), spans)


class TestExamples:
    def test_lesions_are_what_the_findings_changed(self) -> None:
        example = make_example(Task(3, ("mass", "pleural_effusion"), is_located=True), SLICING, SMALL)
        assert example.lesions is not None
        assert 0 < example.lesions.mean() < 0.5
        assert set(example.findings) == {"mass", "pleural_effusion"}
        assert example.healthy is not None
        changed = np.abs(example.images - example.healthy) * 1000 >= 100
        assert (changed != example.lesions).mean() < 1e-3  # as far as rounding to halves lets them differ
        without = make_example(Task(3, ()), SLICING, SMALL)
        assert np.array_equal(example.healthy, without.images)
        assert without.healthy is None
        assert example.spans.shape == (2, len(example.images))
        assert example.spans.any(axis=1).all()
        by_boxes = make_example(Task(3, ("mass", "pleural_effusion")), SLICING, SMALL)
        assert not example.lesions[by_boxes.states == 0].any()
        assert (example.states == 1).any()
        assert example.lesions[example.states == 1].any(axis=(1, 2)).all()

    def test_an_example_is_kept_as_it_was_made(self, tmp_path: Path) -> None:
        task = Task(3, ("mass",), is_located=True, distractor_share=0.5, contrast_share=1.0)
        made, kept = (next(iterate_examples([task], PLAN, tmp_path, 0)) for _ in range(2))
        for name in ("images", "numbers", "states", "healthy", "lesions", "spans"):
            assert np.array_equal(getattr(made, name), getattr(kept, name))
        assert made.findings == kept.findings == ("mass",)
        assert (task.draw_settings().distractor_share, task.draw_settings().contrast_share) == (0.5, 1.0)
        others = (task._replace(findings=()), task._replace(contrast_share=0.0), task._replace(is_located=False))
        assert len({each.file_name for each in (task, *others)}) == 4

    def test_a_slice_is_pathological_only_where_it_shows_something(self) -> None:
        lesions = np.zeros((4, 3, 3), bool)
        lesions[0, 0, :2] = True
        lesions[3, 0, 0] = True
        assert judge_states(np.asarray([1, 1, 0, 0], np.int8), lesions).tolist() == [1, -1, 0, -1]
        assert judge_states(np.asarray([0, -1, -1, 1], np.int8), lesions).tolist() == [1, -1, -1, -1]

    def test_near_the_end_of_a_box_a_slice_is_neither(self) -> None:
        outside_mm = np.asarray([[-5.0, 1.0, 9.0, 20.0], [30.0, 20.0, 9.0, -1.0]])
        assert find_states(outside_mm, slice_step_mm=3.0).tolist() == [1, -1, 0, 1]
        assert find_states(np.zeros((0, 2)), slice_step_mm=3.0).tolist() == [0, 0]

    def test_maps_are_measured_on_findings_that_lie_somewhere(self) -> None:
        drawn = [draw_findings_in_slices(seed, PLAN.prevalence) for seed in range(100)]
        assert {name for names in drawn for name in names} == set(FINDINGS_IN_SLICES)
        assert 15 < drawn.count(()) < 45

    def test_a_study_without_findings_is_healthy_throughout(self) -> None:
        example = make_example(Task(3, (), is_located=True), SLICING, SMALL)
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

    def test_crops_come_before_whole_slices(self) -> None:
        slices, rng = Slices([make_slices()], PLAN), np.random.default_rng(0)
        assert slices.draw_for_unet(rng, is_whole=False).noisy.shape == (4, 1, 8, 8)
        assert slices.draw_for_unet(rng, is_whole=True).noisy.shape == (2, 1, 16, 16)


class TestPairs:
    def test_a_pair_differs_by_the_lesion_alone(self) -> None:
        pairs = FindingPairs([make_slices()], replace(PLAN, classifier_fitting=FittingPlan(3, 16, 1e-3)))
        for seed in range(10):
            batch = pairs.draw(np.random.default_rng(seed))
            assert batch.labels.tolist() == [1] * 6 + [0] * 10
            assert torch.equal(batch.times[:6], batch.times[6:12])
            changed = (batch.noisy[:6] - batch.noisy[6:12]).abs() > 0.3
            assert torch.equal(changed, batch.lesions[:6].bool())
            assert changed.sum() == 6 * 16
            assert not batch.lesions[6:].any()

    def test_what_is_beside_the_pairs_shows_nothing(self) -> None:
        example = make_slices()
        ill = replace(example, images=np.full_like(example.images, 0.9))
        batch = FindingPairs([ill], replace(PLAN, clean_share=1.0)).draw(np.random.default_rng(0))
        assert batch.labels.tolist() == [1, 0, 0, 0]
        assert [float(each.max()) > 0.5 for each in batch.noisy] == [True, False, False, False]

    def test_clean_slices_are_at_time_0_and_others_are_noisy(self) -> None:
        clean = FindingPairs([make_slices()], replace(PLAN, clean_share=1.0)).draw(np.random.default_rng(0))
        assert not clean.times.any()
        assert clean.noisy.abs().max() <= 1.06
        pairs = FindingPairs([make_slices()], replace(PLAN, clean_share=0.0))
        noisy = pairs.draw(np.random.default_rng(0))
        assert noisy.times.any()
        assert not torch.equal(noisy.noisy, clean.noisy)
        assert not pairs.draw_first(np.random.default_rng(0)).times.any()

    def make_three(self) -> Example:
        """Return 12 slices: eight with a mass, then one each with atelectasis, a nodule, two findings, and none.

        Brightness tells them apart: 0.2, 0.4, 0.6, 0.8 and 0.
        """
        spans = np.zeros((3, 12), bool)
        spans[0, :8], spans[1, 8], spans[2, 9], spans[:2, 10] = True, True, True, True
        brightness = np.asarray([0.2] * 8 + [0.4, 0.6, 0.8, 0.0], np.float16)
        images = np.broadcast_to(brightness[:, None, None], (12, 16, 16)).copy()
        states = np.asarray([1] * 11 + [0], np.int8)
        return replace(
            make_slices(), findings=("mass", "atelectasis", "nodule"), spans=spans, images=images, states=states
        )

    @pytest.mark.parametrize("small_share", [0.0, 0.2, 0.5])
    def test_how_often_a_finding_is_shown_does_not_depend_on_its_slices(self, small_share: float) -> None:
        pairs = FindingPairs([self.make_three()], replace(PLAN, clean_share=1.0, small_share=small_share))
        shown = self.measure_shown(pairs.draw)
        large = (1 - small_share) / 2
        assert shown == pytest.approx([large, large, small_share, 0.0], abs=0.07)

    def test_small_findings_are_shown_first_and_alone(self) -> None:
        pairs = FindingPairs([self.make_three()], PLAN)
        assert self.measure_shown(pairs.draw_first) == [0, 0, 1, 0]

    def measure_shown(self, draw: Callable[[np.random.Generator], LocatedBatch]) -> list[float]:
        """Return how often each brightness is shown, by the middle of the slices: one that was moved lets air in."""
        rng = np.random.default_rng(0)
        seen = [float(draw(rng).noisy[0, 0, 4:12, 4:12].mean()) for _ in range(400)]
        return [float(np.mean([abs(each - one) < 0.08 for each in seen])) for one in (0.2, 0.4, 0.6, 0.8)]

    def test_slices_in_the_height_of_two_findings_count_for_neither(self) -> None:
        groups = group_by_finding([self.make_three(), make_slices()])
        assert {name: places.tolist() for name, places in groups.items()} == {
            "atelectasis": [8],
            "mass": [0, 1, 2, 3, 4, 5, 6, 7, 13, 16],
            "nodule": [9, 19, 22],
        }

    def test_what_cannot_be_learnt_from_is_refused(self) -> None:
        example = make_slices()
        for findings in (("mass", "atelectasis"), ("nodule", "rib_fracture")):
            with pytest.raises(ValueError, match="a small finding alone, and a large one"):
                FindingPairs([replace(example, findings=findings)], PLAN)
        with pytest.raises(ValueError, match="lesions of study 1 are not known"):
            FindingPairs([replace(example, healthy=None, lesions=None)], PLAN)

    def test_small_findings_are_findings_of_the_phantom(self) -> None:
        assert set(SMALL_FINDINGS) < set(FINDINGS)


class TestLocating:
    def test_levels_below_the_first_have_maps_and_the_logits_stay(self) -> None:
        torch.manual_seed(0)
        network = LocatingClassifier(SliceClassifier(replace(TINY.classifier, channel_mult=(1, 1, 2))))
        image, times = torch.rand(2, 1, 16, 16), torch.tensor([0])
        logits, maps = network(image, times)
        assert torch.equal(logits, network.classifier(image, times))
        assert [each.shape for each in maps] == [(2, 1, 8, 8), (2, 1, 4, 4)]

    def test_a_map_that_points_at_the_lesion_costs_least(self) -> None:
        batch = FindingPairs([make_slices()], PLAN).draw(np.random.default_rng(0))
        right = [20 * (torch.nn.functional.adaptive_max_pool2d(batch.lesions, size) * 2 - 1) for size in (8, 4)]
        turned = [each.transpose(2, 3) for each in right]
        nothing = [torch.full_like(each, -20.0) for each in right]
        logits = torch.zeros(4, 2)
        costs = [compute_located_loss(logits, maps, batch, 0.5).item() for maps in (right, turned, nothing)]
        assert costs[0] == pytest.approx(np.log(2), abs=1e-5)
        assert costs[0] < costs[1] < costs[2]
        assert compute_located_loss(logits, nothing, batch, 0.0).item() == pytest.approx(np.log(2), abs=1e-5)


class TestFitting:
    def fit(
        self, state: Path, fails_at: int = -1, rate: float = 1e-3, report: Report = lambda _: None
    ) -> SliceClassifier:
        state.mkdir(exist_ok=True)
        torch.manual_seed(0)
        network = quieten(SliceClassifier(TINY.classifier)).train()
        pairs = FindingPairs([make_slices()], PLAN)

        def compute_loss(classifier: SliceClassifier, rng: np.random.Generator, step: int) -> Tensor:
            if step == fails_at:
                raise KeyboardInterrupt
            batch = pairs.draw(rng)
            return torch.nn.functional.cross_entropy(classifier(batch.noisy, batch.times), batch.labels)

        plan = FittingPlan(steps=5, batch=4, peak_rate=rate, checkpoint_steps=2)
        return Fitting(FittingTask("classifier", plan, 7), network, compute_loss).run(state, report)

    def test_a_run_that_was_cut_off_ends_with_the_same_weights(self, tmp_path: Path) -> None:
        whole, cut = tmp_path / "whole", tmp_path / "cut"
        expected = self.fit(whole)
        with pytest.raises(KeyboardInterrupt):
            self.fit(cut, fails_at=3)
        resumed = self.fit(cut)
        pairs = zip(resumed.state_dict().values(), expected.state_dict().values(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)

    def test_a_checkpoint_of_another_plan_is_not_gone_on_from(self, tmp_path: Path) -> None:
        self.fit(tmp_path)
        expected = self.fit(tmp_path / "new", rate=3e-3)
        told: list[str] = []
        again = self.fit(tmp_path, rate=3e-3, report=told.append)
        assert "beginning anew" in told[0]
        pairs = zip(again.state_dict().values(), expected.state_dict().values(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)

    @pytest.mark.parametrize(
        "change", [{"clean_share": 0.5}, {"place_weight": 0.1}, {"classifier_studies": 7}, {"seed": 2}], ids=str
    )
    def test_nor_is_one_of_another_recipe(self, tmp_path: Path, change: dict[str, Any]) -> None:
        pairs, told = FindingPairs([make_slices()], PLAN), list[str]()
        fit_classifier(pairs, PLAN, tmp_path, told.append)
        fit_classifier(pairs, PLAN, tmp_path, told.append)
        assert told == ["classifier_small: going on from step 2", "classifier: going on from step 3"]
        fit_classifier(pairs, replace(PLAN, **change), tmp_path, told.append)
        assert all("beginning anew" in each for each in told[2:])
        assert len(told) == 4

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
            Scored(("mass",), rng.random(9), np.asarray([0, 1, -1] * 3 if number else [0] * 9, np.int8))
            for number in range(4)
        ]
        truth, scores = (np.concatenate([getattr(each, name) for each in studies]) for name in ("truth", "scores"))
        found = measure_slices(studies)
        assert found.value == pytest.approx(roc_auc_score(truth[truth >= 0], scores[truth >= 0]))
        assert found.low < found.value < found.high

    def test_a_finding_is_measured_where_it_is_alone(self) -> None:
        truth = np.zeros(2, np.int8)
        had = (("mass",), ("mass", "nodule"), ("nodule",), (), ())
        largest = (0.9, 0.8, 0.3, 0.2, 0.4)
        studies = [Scored(names, np.asarray([0.0, score]), truth) for names, score in zip(had, largest, strict=True)]
        assert measure_findings(studies) == {"mass": (1, 1.0), "nodule": (1, 0.5)}


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
        assert re.search(r"\| \w+ \| [1-8] \| \d\.\d\d \|", card)
        assert (
            "2 on 1 pairs of a slice with one finding and the same without it, and 2 others without, all clean" in card
        )
        assert "; then 3 on 1 pairs" in card
        assert "seeds 2600048 to 2600053), each with 1 to 2 findings;" in card

    def test_no_study_is_seen_twice(self) -> None:
        plan = DiffusionPlan()
        seeds = [
            *plan.training_seeds,
            *plan.validation_seeds,
            *plan.held_out_seeds,
            *plan.classifier_seeds,
            *plan.classifier_held_out_seeds,
        ]
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
