"""Training of the demo segmentation: aligned labels, honest losses, repeatable and resumable runs, a readable entry."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from model_weights.catalogue import CATALOGUE_NAME, load_catalogue
from phantom.dicom import write_zip
from phantom.study import PhantomSettings, make_study
from training.kept_files import keep_checkpoint, read_checkpoint
from training.phantoms import Prevalence
from training.segmentation import __main__ as command
from training.segmentation.augmentation import Ranges, augment, move
from training.segmentation.card import read_duration, tell_duration
from training.segmentation.evaluation import compute_dice, measure_study, report_organ
from training.segmentation.examples import Example, Recipe, iterate_studies, make_example, make_labelled_study
from training.segmentation.fitting import Fitting, fit, silence_unpainted
from training.segmentation.labels import AORTA, FIRST, HEART, LUNGS, OUTPUTS, PAINTED, UNPAINTED, make_class_indices
from training.segmentation.loss import compute_features, draw_voxels, make_organ_weights, measure
from training.segmentation.lung_mask import find_lungs
from training.segmentation.plan import Cycle, Phase, SegmentationPlan
from training.segmentation.pointwise import FastPointwise, speed_up_pointwise
from workers.segmentation.labels import TOTAL_NAMES
from workers.segmentation.network import make_untrained
from workers.segmentation.predictor import Predictor

COARSE = replace(PhantomSettings.coarse(), matrix=64, slice_spacing_mm=(6.0, 6.0))
PREVALENCE = Prevalence(normal=1.0)
TINY = SegmentationPlan(
    training_studies=2,
    held_out_studies=1,
    cycles=(
        Cycle((Phase(steps=2, size_zyx=(16, 16, 32), batch=2, skipped_stages=1),), 1e-3, 0.5, 0.5, drawn_voxels=500),
        Cycle((Phase(steps=2, size_zyx=(32, 16, 16), batch=1, is_padded=True),), 1e-3, 0.5, 1.0, 500, strength=0.5),
    ),
    prevalence=PREVALENCE,
    training_settings=COARSE,
    held_out_settings=COARSE,
    architecture=replace(
        SegmentationPlan().architecture, features_per_stage=(8, 4, 8, 8, 8), patch_size=(64, 160, 160)
    ),
)
SILENT = Ranges(turn_deg=0.0, scale=(1.0, 1.0), stretch=0.0)


@pytest.fixture(scope="module")
def example() -> Example:
    return make_example(make_labelled_study(3, Recipe(PhantomSettings.coarse(), PREVALENCE)))


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return [make_example(make_labelled_study(seed, Recipe(COARSE, PREVALENCE))) for seed in TINY.training_seeds]


def find_middle(mask: np.ndarray) -> np.ndarray:
    return np.asarray([places.mean() for places in np.nonzero(mask)])


class TestLabels:
    def test_the_phantoms_paint_no_other_label(self, example: Example) -> None:
        assert set(np.unique(example.labels).tolist()) <= set(PAINTED)

    def test_painted_and_unpainted_are_all_labels_of_total(self) -> None:
        assert sorted((*PAINTED, *UNPAINTED)) == list(range(len(TOTAL_NAMES) + 1))
        assert set(FIRST) <= set(PAINTED)

    def test_every_painted_label_has_its_own_class(self) -> None:
        indices = make_class_indices()
        assert indices[list(PAINTED)].tolist() == list(range(len(PAINTED)))
        assert not indices[list(UNPAINTED)].any()


class TestExamples:
    def test_sides_are_those_of_the_names(self, example: Example) -> None:
        for label in np.unique(example.labels[example.labels > 0]):
            name, middle = TOTAL_NAMES[label - 1], find_middle(example.labels == label)
            if name.endswith("_left"):
                assert middle[2] < example.labels.shape[2] / 2, name
            if name.endswith("_right"):
                assert middle[2] > example.labels.shape[2] / 2, name

    def test_the_spine_is_behind_and_the_clavicles_are_above(self, example: Example) -> None:
        heart = find_middle(example.labels == HEART)
        assert find_middle(example.labels == 79)[1] < heart[1] < find_middle(example.labels == 116)[1]
        assert find_middle(example.labels == 73)[0] > heart[0] > find_middle(example.labels == 5)[0]

    def test_voxels_are_of_three_millimetres_and_labels_lie_on_them(self, example: Example) -> None:
        assert example.hu.shape == example.labels.shape
        assert np.median(example.hu[np.isin(example.labels, LUNGS)]) < -700
        assert np.median(example.hu[example.labels == AORTA]) > 0
        assert example.labels.shape[0] * 3 == pytest.approx(330, rel=0.2)

    def test_studies_come_in_order_and_are_kept(self, tmp_path: Path) -> None:
        recipe = Recipe(COARSE, PREVALENCE)
        made = list(iterate_studies(range(5, 7), recipe, tmp_path, 0))
        kept = list(iterate_studies(range(5, 7), recipe, tmp_path, 0))
        assert [study.seed for study in made] == [5, 6]
        assert len(list(tmp_path.glob("*/*.npz"))) == 2
        for one, other in zip(made, kept, strict=True):
            assert np.array_equal(one.volume.hu, other.volume.hu)
            assert np.array_equal(one.labels, other.labels)
            assert one.volume.geometry == other.volume.geometry


class TestAugmentation:
    @pytest.mark.parametrize("seed", range(4))
    def test_labels_move_with_their_voxels(self, example: Example, seed: int) -> None:
        marked = replace(example, hu=(example.labels.astype(np.int16) * 10))
        hu, labels, _ = move(marked, (24, 32, 40), np.random.default_rng(seed), Ranges())
        assert hu.shape == labels.shape == (24, 32, 40)
        is_inner = np.abs(hu - labels * 10.0) < 1e-2  # elsewhere the mean of neighbours
        assert is_inner.mean() > 0.6
        assert np.abs(hu - labels * 10.0)[is_inner].max() < 1e-2

    def test_softened_it_is_weaker_and_at_full_strength_the_same(self) -> None:
        soft = Ranges().soften(0.5)
        assert Ranges().soften(1.0) == Ranges()
        assert (soft.turn_deg, soft.opacity_share, soft.lung_shift_hu) == (5.0, 0.175, (-35.0, 80.0))
        assert soft.scale == pytest.approx((0.8**0.5, 1.25**0.5))
        assert soft.opacity_hu == Ranges().opacity_hu

    @pytest.mark.parametrize("axis", range(3))
    def test_without_turn_and_scale_it_is_a_crop(self, example: Example, axis: int) -> None:
        ramp = np.moveaxis(
            np.broadcast_to(np.arange(example.hu.shape[axis]), np.moveaxis(example.hu, axis, -1).shape), -1, axis
        )
        hu, _, _ = move(replace(example, hu=ramp.astype(np.int16)), (8, 9, 10), np.random.default_rng(1), SILENT)
        assert np.allclose(np.diff(hu, axis=axis), 1, atol=1e-2)
        assert 0 <= hu.min() < hu.max() <= example.hu.shape[axis] - 1

    def test_sides_are_never_swapped(self, example: Example) -> None:
        for seed in range(6):
            _, labels, _ = move(example, (48, 96, 112), np.random.default_rng(seed), Ranges())
            left, right = np.isin(labels, LUNGS[:2]), np.isin(labels, LUNGS[2:])
            assert find_middle(left)[2] < find_middle(right)[2]

    def test_voxels_beyond_the_study_are_told(self, example: Example) -> None:
        larger = tuple(length + 20 for length in example.hu.shape)
        _, _, is_inside = move(example, (larger[0], larger[1], larger[2]), np.random.default_rng(1), SILENT)
        assert is_inside.sum() == pytest.approx(example.hu.size, rel=0.02)
        assert is_inside[tuple(length // 2 for length in larger)]
        assert not is_inside[0].any()

    def test_the_generator_decides_everything(self, example: Example) -> None:
        one, other = (augment(example, (16, 16, 16), np.random.default_rng(5), Ranges()) for _ in range(2))
        assert np.array_equal(one[0], other[0])
        assert np.array_equal(one[1], other[1])

    def test_every_change_leaves_labels_alone_but_the_narrow_field(self, example: Example) -> None:
        always = Ranges(opacity_share=1, contrast_share=1, gas_share=1, thing_share=1, field_share=0, noise_share=1)
        moved = move(example, (32, 32, 32), np.random.default_rng(7), always)
        hu, labels, _ = augment(example, (32, 32, 32), np.random.default_rng(7), always)
        assert np.array_equal(labels, moved[1])
        assert not np.array_equal(hu, moved[0])
        assert hu.min() >= -1024
        assert np.isfinite(hu).all()

    def test_outside_of_a_narrow_field_is_air_without_a_label(self, example: Example) -> None:
        always = Ranges(field_share=1, noise_share=0, blur_share=0, shift_hu=0, scale_hu=0)
        hu, labels, _ = augment(example, (16, 48, 48), np.random.default_rng(2), always)
        outside = hu == -1024
        assert outside.any()
        assert not labels[outside].any()


def find_head(network: nn.Module, stage: int) -> nn.Module:
    """Return what turns the features of a stage of the decoder into logits."""
    return cast("nn.ModuleList", network.get_submodule("decoder.seg_layers"))[stage]


class TestLoss:
    def test_features_are_those_of_the_network_as_written(self) -> None:
        torch.manual_seed(0)
        network = make_untrained(TINY.architecture, OUTPUTS).eval()
        volume = torch.randn(2, 1, 16, 16, 32)
        expected = network(volume)
        features = compute_features(network, volume)
        assert torch.allclose(find_head(network, -1)(features[0]), expected, atol=1e-5)
        assert sorted(compute_features(network, volume, skipped=2)) == [2, 3]

    def test_pointwise_convolutions_answer_as_before(self) -> None:
        torch.manual_seed(0)
        network = make_untrained(TINY.architecture, OUTPUTS).double().eval()
        fast = copy.deepcopy(network)
        speed_up_pointwise(fast)
        assert any(type(module) is FastPointwise for module in fast.modules())
        volume = torch.randn(1, 1, 16, 32, 16, dtype=torch.float64)
        assert torch.allclose(fast(volume), network(volume))

    def test_small_organs_are_drawn_oftener_and_stand_for_themselves(self) -> None:
        classes = np.repeat([0, 1, 2], [90_000, 9_000, 90])
        places, chances = draw_voxels(classes, 5000, np.random.default_rng(0))
        counts = np.bincount(classes[places])
        assert counts[0] < 0.1 * 90_000
        assert counts[2] == 90
        for label, size in enumerate((90_000, 9_000, 90)):
            assert (1 / chances[classes[places] == label]).sum() == pytest.approx(size, rel=0.1)

    def test_right_answers_cost_nothing_and_wrong_ones_much(self) -> None:
        targets = torch.tensor([0, 5, 9, 9])
        right = functional.one_hot(targets, len(PAINTED)).float() * 50
        weights, ones = make_organ_weights(4.0), torch.ones(4)
        assert measure(right, targets, ones, weights, 0.5) < 1e-3
        assert measure(right.roll(1, dims=1), targets, ones, weights, 0.5) > 10

    def test_organs_that_come_first_weigh_more_and_the_background_nothing(self) -> None:
        weights = make_organ_weights(4.0)
        assert weights[0] == 0
        assert all(weights[PAINTED.index(label)] == 4 for label in FIRST)
        assert weights.sum() == 4 * len(FIRST) + len(PAINTED) - 1 - len(FIRST)


class TestFitting:
    def test_a_run_that_was_cut_off_ends_with_the_same_weights(self, examples: list[Example], tmp_path: Path) -> None:
        whole = fit(TINY, iter(examples), _make(tmp_path / "whole"), _ignore)
        cut = _make(tmp_path / "cut")
        with pytest.raises(InterruptedError):
            Fitting(TINY, 0, None, cut, _interrupt, steps_told=1).run([], iter(examples))
        told: list[str] = []
        again = fit(TINY, iter(examples), cut, told.append)
        assert told[0] == "going on from step 1"
        assert again.seconds > 0
        for one, other in zip(whole.network.parameters(), again.network.parameters(), strict=True):
            assert torch.equal(one, other)

    def test_updates_on_phantoms_of_another_generator_are_told(self, examples: list[Example], tmp_path: Path) -> None:
        assert fit(TINY, iter(examples), tmp_path, _ignore).updates_on_others == 0
        first = tmp_path / "checkpoint-1.pt"
        keep_checkpoint(first, {**(read_checkpoint(first) or {}), "recipe": "another"})
        again = fit(TINY, iter(examples), tmp_path, _ignore)
        assert again.updates_on_others == TINY.cycles[0].steps
        assert "its first 2 updates" in tell_duration(again.seconds, again.updates_on_others)

    def test_unpainted_labels_are_never_chosen_and_no_other_choice_changes(self) -> None:
        torch.manual_seed(0)
        network = make_untrained(TINY.architecture, OUTPUTS).eval()
        volume = torch.randn(1, 1, 16, 16, 32)
        with torch.inference_mode():
            before = network(volume)[:, list(PAINTED)].argmax(1)
            silence_unpainted(network)
            after = network(volume)
        assert torch.equal(torch.tensor(PAINTED)[before], after.argmax(1))
        assert after[:, list(PAINTED)].amax(1).min() >= -1e-4
        assert after[:, list(UNPAINTED)].max() < -1


class TestMeasuring:
    def test_dice(self) -> None:
        one, other = np.asarray([1, 1, 0, 0], bool), np.asarray([0, 1, 1, 0], bool)
        assert compute_dice(one, other) == 0.5
        assert compute_dice(one & ~one, one & ~one) == 1

    def test_a_study_is_as_good_as_itself(self, example: Example) -> None:
        measured = measure_study(example.labels, example.labels)
        assert next(iter(measured)) == "lungs, all five lobes"
        assert set(measured.values()) == {1.0}
        assert {"heart", "aorta", "vertebrae, mean", "ribs on the left, mean"} <= set(measured)

    def test_an_interval_holds_its_mean(self) -> None:
        report = report_organ("heart", [0.8, 0.9, 0.95, 0.7])
        assert report.least == 0.7 < report.low < report.mean < report.high

    def test_lungs_by_density_are_the_painted_ones_without_the_trachea(self) -> None:
        study = make_labelled_study(4, Recipe(replace(PhantomSettings.coarse(), matrix=128), PREVALENCE))
        lungs = find_lungs(study.volume.hu, study.volume.geometry.spacing_zyx_mm)
        assert compute_dice(lungs, np.isin(study.labels, LUNGS)) > 0.93
        assert lungs[study.labels == 16].mean() < 0.35


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("segmentation")
    write_zip(make_study(9, (), COARSE), folder / "study.zip")
    command.train(TINY, folder / "state", folder / CATALOGUE_NAME, processes=0, real_study=folder / "study.zip")
    yield folder
    shutil.rmtree(folder)


class TestCommand:
    def test_it_publishes_what_the_stage_loads(self, trained: Path) -> None:
        (entry,) = load_catalogue(trained / CATALOGUE_NAME)
        assert (entry.name, entry.stage, len(entry.labels)) == ("segmentation-demo", "segmentation", 117)
        found = Predictor(entry, torch.device("cpu")).label(np.full((20, 24, 28), -900, np.int32), _ignore)
        assert found.shape == (20, 24, 28)
        assert set(np.unique(found).tolist()) <= set(PAINTED)

    def test_the_card_tells_what_was_measured(self, trained: Path) -> None:
        card = (trained / "demo" / "segmentation" / "card.md").read_text(encoding="utf-8")
        assert "(of the first 2 phantoms, changed 0.5 times as much, 500 voxels in the loss)" in card
        for expected in ("phantoms only", "| heart | 1 |", "kidney_left", "By density", "--evaluate-only"):
            assert expected in card
        assert read_duration(card).endswith("shared machine")

    def test_measuring_again_keeps_the_weights(self, trained: Path) -> None:
        (before,) = load_catalogue(trained / CATALOGUE_NAME)
        after = command.evaluate_again(
            TINY, trained / "state", trained / CATALOGUE_NAME, processes=0, real_study=trained / "study.zip"
        )
        assert after.digest == before.digest


def _make(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _interrupt(_: str) -> None:
    raise InterruptedError


def _ignore(_: object) -> None:
    """Take a report and do nothing."""
