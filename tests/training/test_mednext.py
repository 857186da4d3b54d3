"""Training of the demo MedNeXt: exact gradients, honest targets, repeatable and resumable runs."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from model_weights.catalogue import load_catalogue
from phantom.study import FINDINGS
from training.depthwise import speed_up_depthwise
from training.examples import Example, iterate_examples, make_example
from training.mednext import train
from training.mednext_card import choose_thresholds, report_classes
from training.mednext_fitting import Fitting, augment, make_batch, make_targets
from training.mednext_loss import draw_boxes
from training.mednext_plan import CLASSES, MedNeXtPlan
from training.phantoms import Prevalence
from workers.mednext.configuration import Preprocessing

GRID = Preprocessing(spacing_xyz_mm=(8.0, 8.0, 8.0), roi_xyz=(44, 36, 38))
TINY = MedNeXtPlan(
    training_studies=8,
    validation_studies=4,
    held_out_studies=4,
    batch=4,
    visits=2,
    preprocessing=GRID,
    architecture=replace(MedNeXtPlan().architecture, depth_config=(1, 1), exp_r=(2, 2)),
)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    prevalence = Prevalence(normal=0.2, most_findings=4)
    return [make_example(seed, prevalence, GRID) for seed in range(8)]


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


class TestExamples:
    def test_the_seed_decides_everything(self, examples: list[Example]) -> None:
        again = make_example(3, Prevalence(normal=0.2, most_findings=4), GRID)
        assert np.array_equal(again.voxels, examples[3].voxels)
        assert np.array_equal(again.boxes, examples[3].boxes, equal_nan=True)

    def test_they_come_in_order_and_are_kept(self, tmp_path: Path) -> None:
        prevalence = Prevalence()
        tasks = [(seed, prevalence) for seed in (5, 3, 4)]
        made = list(iterate_examples(tasks, GRID, tmp_path, 1))
        kept = list(islice(iterate_examples(tasks, GRID, tmp_path, 1), 3))
        assert [example.seed for example in made] == [5, 3, 4]
        assert all(np.array_equal(one.voxels, other.voxels) for one, other in zip(made, kept, strict=True))
        assert len(list(tmp_path.glob("*/*.npz"))) == 3

    def test_boxes_lie_around_the_input(self, examples: list[Example]) -> None:
        for example in examples:
            boxes = example.boxes[example.has_finding]
            assert (boxes[:, 1] > boxes[:, 0]).all()
            centres = boxes.mean(axis=1)
            assert ((centres > 0) & (centres < GRID.roi_xyz)).all()

    def test_normal_is_the_absence_of_every_finding(self, examples: list[Example]) -> None:
        for example in examples:
            targets = make_targets(example)
            assert targets[CLASSES.index("normal")] == (not example.has_finding.any())
            assert targets.sum() == max(1, example.has_finding.sum())

    def test_every_finding_of_the_phantom_is_a_class(self) -> None:
        assert set(FINDINGS) <= set(CLASSES)


class TestAugmentation:
    def test_boxes_move_with_the_volume(self) -> None:
        voxels = np.zeros((44, 36, 38), np.float16)
        voxels[20:24, 10:12, 30:33] = 5
        boxes = np.full((len(FINDINGS), 2, 3), np.nan, np.float32)
        boxes[2] = [[20, 10, 30], [24, 12, 33]]
        moved = augment(make_batch([Example(0, voxels, boxes)]), np.random.default_rng(3))
        found = torch.nonzero(moved.volumes[0, 0] > 3)
        corner = moved.boxes[0, 2, 0] * torch.tensor([44.0, 36.0, 38.0])
        assert torch.allclose(found.min(dim=0).values.float(), corner, atol=1e-4)

    def test_it_repeats_with_its_generator(self, examples: list[Example]) -> None:
        batch = make_batch(examples[:2])
        one, other = (augment(batch, np.random.default_rng(1)) for _ in range(2))
        assert torch.equal(one.volumes, other.volumes)

    def test_a_small_box_still_touches_a_cell(self) -> None:
        box = torch.tensor([[[[0.50, 0.10, 0.90], [0.51, 0.11, 0.91]]]])
        assert draw_boxes(box, torch.Size((4, 4, 4))).nonzero().tolist() == [[0, 0, 2, 0, 3]]
        assert not draw_boxes(torch.full((1, 1, 2, 3), torch.nan), torch.Size((4, 4, 4))).any()


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


class TestReport:
    def test_thresholds_part_what_can_be_parted(self) -> None:
        targets = np.zeros((4, len(CLASSES)), np.float32)
        targets[2:, 1] = 1
        probabilities = np.tile(np.asarray([[0.1], [0.2], [0.6], [0.8]], np.float32), (1, len(CLASSES)))
        thresholds = choose_thresholds(targets, probabilities)
        assert thresholds == {CLASSES[1]: pytest.approx(0.6)}
        report = report_classes(targets, probabilities, thresholds)[1]
        assert (report.auc, report.sensitivity, report.specificity) == (1.0, 1.0, 1.0)

    def test_a_class_without_positives_is_declared_untrained(self) -> None:
        targets = np.zeros((4, len(CLASSES)), np.float32)
        report = report_classes(targets, targets, {})[0]
        assert (report.auc, report.threshold) == (None, None)


class TestTraining:
    def test_a_tiny_run_publishes_a_model_with_its_card(self, tmp_path: Path) -> None:
        entry = train(TINY, tmp_path / "state", tmp_path / "catalogue.toml", processes=1)
        assert (entry,) == load_catalogue(tmp_path / "catalogue.toml")
        assert entry.labels == CLASSES
        assert entry.card is not None
        card = (tmp_path / entry.card).read_text()
        assert "not for clinical use" in card
        assert "python -m training.mednext --seed 1 --training-studies 8" in card
