"""Training of the demo MedNeXt: exact gradients, honest targets, repeatable and resumable runs."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from model_weights.catalogue import CATALOGUE_NAME, load_catalogue
from phantom.study import FINDINGS, PhantomSettings, make_study
from training.depthwise import speed_up_depthwise
from training.examples import Example, Task, iterate_examples, locate_findings, make_example
from training.fast_block import speed_up_training
from training.mednext import choose_thresholds_again, train
from training.mednext_batches import count_cells, make_crop_batch, make_targets, make_whole_batch
from training.mednext_card import choose_thresholds, report_classes
from training.mednext_fitting import Fitting
from training.mednext_plan import CLASSES, Cycle, MedNeXtPlan
from training.phantoms import Prevalence
from training.thresholds import choose_threshold
from workers.mednext.configuration import Preprocessing
from workers.mednext.model import MedNeXt

GRID = Preprocessing(spacing_xyz_mm=(8.0, 8.0, 8.0), roi_xyz=(44, 36, 38))
TINY = MedNeXtPlan(
    training_studies=8,
    validation_studies=4,
    held_out_studies=4,
    cycles=(
        Cycle(crop_steps=2, whole_steps=2, peak_rate=4e-3, batch=4),
        Cycle(crop_steps=0, whole_steps=2, peak_rate=2e-3, batch=2, disturbance=0.5),
    ),
    crop_batch=4,
    crop_xyz=(22, 18, 18),
    preprocessing=GRID,
    architecture=replace(MedNeXtPlan().architecture, depth_config=(1, 1), exp_r=(2, 2)),
)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    prevalence = Prevalence(normal=0.2, most_findings=4)
    return [make_example(Task(seed, prevalence, is_located=True), GRID) for seed in range(8)]


class TestDepthwise:
    @pytest.mark.parametrize("stride", [1, 2])
    @pytest.mark.parametrize("shape", [(9, 8, 7), (4, 5, 6)])
    def test_its_gradients_are_those_of_torch(self, stride: int, shape: tuple[int, int, int]) -> None:
        convolution = nn.Conv3d(8, 8, 3, stride, 1, groups=8).double()
        volume = torch.randn(2, 8, *shape, dtype=torch.float64, requires_grad=True)
        assert convolution.bias is not None
        inputs = [volume, convolution.weight, convolution.bias]
        expected = torch.autograd.grad(convolution(volume).pow(3).sum(), inputs)
        speed_up_depthwise(convolution)
        found = torch.autograd.grad(convolution(volume).pow(3).sum(), inputs)
        for one, other in zip(found, expected, strict=True):
            assert torch.allclose(one, other)

    def test_other_convolutions_are_left_alone(self) -> None:
        convolution = nn.Conv3d(8, 8, 1)
        speed_up_depthwise(convolution)
        assert type(convolution) is nn.Conv3d


class TestFastBlocks:
    @pytest.mark.parametrize("batch", [1, 2])
    def test_answers_and_gradients_are_those_of_the_blocks_as_written(self, batch: int) -> None:
        torch.manual_seed(0)
        model = MedNeXt(replace(TINY.architecture, depth_config=(1, 2))).double()
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.3)
        fast = copy.deepcopy(model)
        speed_up_training(fast)
        volume = torch.randn(batch, 1, 33, 22, 25, dtype=torch.float64)
        expected, found = model(volume), fast(volume)
        assert torch.allclose(found, expected)
        expected.pow(2).sum().backward()
        found.pow(2).sum().backward()
        for one, other in zip(fast.parameters(), model.parameters(), strict=True):
            assert one.grad is not None
            assert other.grad is not None
            assert torch.allclose(one.grad, other.grad, atol=1e-8)


class TestExamples:
    def test_the_seed_decides_everything(self, examples: list[Example]) -> None:
        again = make_example(Task(3, Prevalence(normal=0.2, most_findings=4), is_located=True), GRID)
        assert np.array_equal(again.voxels, examples[3].voxels)
        assert again.places is not None
        assert examples[3].places is not None
        assert np.array_equal(again.places, examples[3].places)

    def test_they_come_in_order_and_are_kept(self, tmp_path: Path) -> None:
        tasks = [Task(seed, Prevalence(normal=0.0), is_located=seed == 3) for seed in (5, 3, 4)]
        made = list(iterate_examples(tasks, GRID, tmp_path, 1))
        kept = list(islice(iterate_examples(tasks, GRID, tmp_path, 1), 3))
        assert [example.seed for example in made] == [5, 3, 4]
        assert [example.places is None for example in kept] == [True, False, True]
        assert len(list(tmp_path.glob("*/*.npz"))) == 3
        for one, other in zip(made, kept, strict=True):
            assert np.array_equal(one.voxels, other.voxels)
            assert np.array_equal(one.has_finding, other.has_finding)
            assert np.array_equal(np.asarray(one.places), np.asarray(other.places))

    def test_every_finding_has_its_place_and_a_healthy_chest_none(self) -> None:
        settings = PhantomSettings.coarse()
        healthy = make_study(8, (), settings)
        assert locate_findings(healthy, settings, GRID).shape == (0, 22, 18, 19)
        study = make_study(8, ("pleural_effusion", "mass"), settings)
        mass, effusion = locate_findings(study, settings, GRID)
        assert 0 < mass.sum() < effusion.sum() < 0.2 * effusion.size

    def test_normal_is_the_absence_of_every_finding(self, examples: list[Example]) -> None:
        for example in examples:
            targets = make_targets(example)
            assert targets[CLASSES.index("normal")] == (not example.has_finding.any())
            assert targets.sum() == max(1, example.has_finding.sum())

    def test_every_finding_of_the_phantom_is_a_class(self) -> None:
        assert set(FINDINGS) <= set(CLASSES)


class TestAugmentation:
    def test_places_move_with_the_volume(self) -> None:
        voxels = np.zeros((44, 36, 38), np.float16)
        voxels[20:24, 8:12, 16:20] = 5
        places = np.zeros((1, 22, 18, 19), bool)
        places[0, 10:12, 4:6, 8:10] = True
        example = Example(0, voxels, np.arange(len(FINDINGS)) == 2, places)
        for seed in range(6):
            batch = make_whole_batch([example], np.random.default_rng(seed))
            seen = (torch.nonzero(batch.volumes[0, 0] > 3).double().mean(dim=0) + 0.5) / torch.tensor([44, 36, 38])
            cells = batch.places[0, 2]
            told = (torch.nonzero(cells).double().mean(dim=0) + 0.5) / torch.tensor(cells.shape)
            assert torch.allclose(seen, told, atol=0.1)
            assert batch.places.sum() == cells.sum()

    def test_a_crop_knows_what_it_shows_and_what_it_cuts_off(self) -> None:
        places = np.zeros((2, 22, 18, 19), bool)
        places[0, 2:4, 2:4, 2:4] = True  # a small finding in one corner
        places[1] = True  # one that is everywhere
        present = np.isin(np.arange(len(FINDINGS)), (1, 2))
        example = Example(0, np.ones((44, 36, 38), np.float16), present, places)
        small, everywhere = (CLASSES.index(FINDINGS[index]) for index in (1, 2))
        for seed in range(8):
            batch = make_crop_batch([example], (22, 18, 18), np.random.default_rng(seed))
            assert batch.volumes.shape == (1, 1, 22, 18, 18)
            assert batch.weights[0, CLASSES.index("normal")] == 0
            assert batch.targets[0, everywhere] == batch.weights[0, everywhere] == 1
            shown = batch.places[0, 1].any()
            assert bool(batch.targets[0, small]) <= bool(shown)
            assert bool(batch.weights[0, small]) or bool(shown)

    def test_it_repeats_with_its_generator(self, examples: list[Example]) -> None:
        one, other = (make_whole_batch(examples[:2], np.random.default_rng(1)) for _ in range(2))
        assert torch.equal(one.volumes, other.volumes)
        assert torch.equal(one.places, other.places)

    def test_the_finest_map_has_as_many_cells_as_the_second_stage(self) -> None:
        shape = (44, 36, 38)
        steps = MedNeXt(TINY.architecture).iterate_activations(torch.zeros(1, 1, *shape))
        assert count_cells(shape) == next(each.shape[2:] for name, each in steps if name == "stage1")


class TestPlan:
    def test_a_step_has_its_place_in_a_cycle(self) -> None:
        places = [TINY.find_place(step) for step in range(TINY.steps + 1)]
        assert [place.number for place in places] == [0, 0, 0, 0, 1, 1, 1]
        assert [place.step for place in places] == [0, 1, 2, 3, 0, 1, 2]
        assert places[4].cycle is TINY.cycles[1]


class TestFitting:
    def test_a_run_that_was_cut_off_ends_with_the_same_weights(
        self, examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("training.mednext_fitting._CHECKPOINT_STEPS", 2)
        (tmp_path / "whole").mkdir()
        (tmp_path / "cut").mkdir()
        whole = Fitting(TINY, tmp_path / "whole", print).run(iter(examples))
        with pytest.raises(StopIteration):
            Fitting(TINY, tmp_path / "cut", print).run(iter(examples[:7]))
        resumed = Fitting(TINY, tmp_path / "cut", print).run(iter(examples))
        for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
            assert torch.equal(one, other)

    def test_cycles_may_be_added_to_a_run_that_has_ended(
        self, examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("training.mednext_fitting._CHECKPOINT_STEPS", 2)
        Fitting(TINY, tmp_path, print).run(iter(examples))
        longer = replace(TINY, cycles=(*TINY.cycles, Cycle(crop_steps=0, whole_steps=2, peak_rate=1e-3, batch=2)))
        told: list[str] = []
        Fitting(longer, tmp_path, told.append).run(iter(examples))
        assert told[0] == "going on from step 6"

    def test_a_checkpoint_of_another_plan_is_left_alone(
        self, examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("training.mednext_fitting._CHECKPOINT_STEPS", 2)
        Fitting(TINY, tmp_path, print).run(iter(examples))
        told: list[str] = []
        Fitting(replace(TINY, training_studies=6), tmp_path, told.append)
        assert told == ["the checkpoint is of another plan: beginning anew"]


class TestReport:
    def test_thresholds_part_what_can_be_parted(self) -> None:
        targets = np.zeros((4, len(CLASSES)), np.float32)
        targets[2:, 1] = 1
        probabilities = np.tile(np.asarray([[0.1], [0.2], [0.6], [0.8]], np.float32), (1, len(CLASSES)))
        thresholds = choose_thresholds(targets, probabilities, least_specificity=0.9)
        assert thresholds == {CLASSES[1]: pytest.approx(0.4)}
        report = report_classes(targets, probabilities, thresholds)[1]
        assert (report.auc, report.sensitivity, report.specificity) == (1.0, 1.0, 1.0)

    def test_a_class_without_positives_is_declared_untrained(self) -> None:
        targets = np.zeros((4, len(CLASSES)), np.float32)
        report = report_classes(targets, targets, {})[0]
        assert (report.auc, report.threshold) == (None, None)

    def test_a_class_without_a_threshold_keeps_its_area(self) -> None:
        targets = np.zeros((4, len(CLASSES)), np.float32)
        targets[2:] = 1
        report = report_classes(targets, np.zeros_like(targets), {})[0]
        assert (report.auc, report.threshold, report.specificity) == (0.5, None, None)


class TestThresholds:
    def test_lie_in_the_middle_of_the_gap(self) -> None:
        assert choose_threshold(np.array([False, True]), np.array([0.1, 0.9], np.float32), 0.9) == 0.5

    def test_give_up_sensitivity_for_the_specificity_that_is_asked_for(self) -> None:
        is_present = np.arange(20) >= 10
        probabilities = np.linspace(0.05, 0.95, 20).astype(np.float32)
        probabilities[[9, 10]] = 0.9, 0.3
        chosen = {floor: choose_threshold(is_present, probabilities, floor) for floor in (0.8, 1.0)}
        assert chosen[0.8] is not None
        assert chosen[1.0] is not None
        assert chosen[0.8] < 0.6 < chosen[1.0]

    def test_are_none_where_nothing_beats_a_guess(self) -> None:
        assert choose_threshold(np.array([True, False]), np.array([0.1, 0.9], np.float32), 0.9) is None
        assert choose_threshold(np.array([True, True]), np.array([0.1, 0.9], np.float32), 0.0) is None


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny run's state and what it published."""
    folder = tmp_path_factory.mktemp("trained")
    train(TINY, folder / "state", folder / CATALOGUE_NAME, processes=1)
    return folder


class TestTraining:
    def test_a_tiny_run_publishes_a_model_with_its_card(self, trained: Path) -> None:
        (entry,) = load_catalogue(trained / CATALOGUE_NAME)
        assert entry.labels == CLASSES
        assert entry.card is not None
        card = (trained / entry.card).read_text()
        assert "not for clinical use" in card
        assert "python -m training.mednext --seed 1 --training-studies 8" in card
        assert "2 on 4 crops, then 2 on 4 whole studies; then, from a low rate again, 2 on 2 whole studies" in card

    def test_a_run_that_had_learnt_everything_measures_and_publishes_the_same(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("training.mednext_fitting._CHECKPOINT_STEPS", 1)
        first = train(TINY, tmp_path / "state", tmp_path / "catalogue.toml", processes=1)
        again = train(TINY, tmp_path / "state", tmp_path / "catalogue.toml", processes=1)
        assert again.digest == first.digest

    def test_thresholds_can_be_chosen_again_for_the_same_weights(self, trained: Path, tmp_path: Path) -> None:
        folder = tmp_path / "copy"
        shutil.copytree(trained, folder)
        (first,) = load_catalogue(folder / CATALOGUE_NAME)
        plan = replace(TINY, least_specificity=0.0)
        again = choose_thresholds_again(plan, folder / "state", folder / CATALOGUE_NAME, processes=1)
        assert again.get_file("weights").sha256 == first.get_file("weights").sha256
        assert again.card is not None
        assert "minutes on two shared cores" in (folder / again.card).read_text()
