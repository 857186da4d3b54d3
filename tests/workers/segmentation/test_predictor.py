"""Labels as nnU-Net's own predictor gives them, to the last voxel; a network that is not the one meant is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.variants.training_length import nnUNetTrainer_Xepochs_NoMirroring as trainers
from safetensors.torch import load_file, save_file
from totalsegmentator.nnunet import custom_trainers

from model_weights.catalogue import ModelEntry, WeightFile
from model_weights.verifying import compute_sha256
from shared.errors import Defect, StaleLease
from tests.workers.segmentation.making import TINY, make_volume, publish_tiny
from workers.segmentation.grid import NetworkGrid
from workers.segmentation.package_folder import locate_model, make_package_folder
from workers.segmentation.predictor import STEP, Predictor, find_inner

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> ModelEntry:
    return publish_tiny(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def reference(entry: ModelEntry, tmp_path_factory: pytest.TempPathFactory) -> nnUNetPredictor:
    custom_trainers[TINY.trainer] = getattr(trainers, TINY.trainer)
    folder = make_package_folder(entry, tmp_path_factory.mktemp("cache"))
    predictor = nnUNetPredictor(tile_step_size=STEP, use_mirroring=False, device=CPU, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(locate_model(folder, TINY.trainer)), (0,))
    return predictor


def label_as_nnunet(reference: nnUNetPredictor, coarse: np.ndarray) -> np.ndarray:
    preprocessor = reference.configuration_manager.preprocessor_class(verbose=False)
    data, _, properties = preprocessor.run_case_npy(
        coarse[None].astype(np.float64),
        None,
        {"spacing": [3.0, 3.0, 3.0]},
        reference.plans_manager,
        reference.configuration_manager,
        reference.dataset_json,
    )
    logits = reference.predict_logits_from_preprocessed_data(torch.from_numpy(data))
    return np.asarray(
        convert_predicted_logits_to_segmentation_with_correct_shape(
            logits.numpy(),
            reference.plans_manager,
            reference.configuration_manager,
            reference.label_manager,
            properties,
            num_threads_torch=1,
        )
    )


class TestLabels:
    @pytest.mark.parametrize("shape", [(28, 52, 50), (11, 60, 20), (60, 30, 40)])
    def test_every_voxel_is_as_nnunet_labels_it(
        self, entry: ModelEntry, reference: nnUNetPredictor, shape: tuple[int, int, int]
    ) -> None:
        volume = make_volume(shape)
        coarse = NetworkGrid(volume.geometry).coarsen(volume.hu)
        labels = Predictor(entry, CPU).label(coarse, lambda _share: None)
        assert len(np.unique(labels)) > 5
        assert (labels == label_as_nnunet(reference, coarse)).all()

    def test_a_zero_rim_stays_background(self, entry: ModelEntry) -> None:
        coarse = NetworkGrid(make_volume().geometry).coarsen(make_volume().hu)
        inner = find_inner(coarse)
        labels = Predictor(entry, CPU).label(coarse, lambda _share: None)
        assert inner[0].start > 0
        assert not labels[: inner[0].start].any()

    def test_a_volume_of_zeros_is_looked_at_whole(self) -> None:
        assert find_inner(np.zeros((3, 4, 5), np.int32)) == (slice(0, 3), slice(0, 4), slice(0, 5))

    def test_progress_is_told_up_to_the_end_and_may_end_the_work(self, entry: ModelEntry) -> None:
        predictor = Predictor(entry, CPU)
        coarse = NetworkGrid(make_volume().geometry).coarsen(make_volume().hu)
        shares: list[float] = []
        predictor.label(coarse, shares.append)
        assert shares == sorted(shares)
        assert shares[-1] == 1

        def refuse(_share: float) -> None:
            raise StaleLease("no longer wanted")

        with pytest.raises(StaleLease):
            predictor.label(coarse, refuse)


class TestLoading:
    def test_weights_that_answer_otherwise_are_refused(self, entry: ModelEntry, tmp_path: Path) -> None:
        tensors = load_file(entry.get_file("weights").path)
        name = next(iter(tensors))
        save_file({**tensors, name: tensors[name] + 0.1}, tmp_path / "weights.safetensors")
        with pytest.raises(Defect, match="known one"):
            Predictor(replace_weights(entry, tmp_path / "weights.safetensors"), CPU)

    def test_weights_that_are_short_of_a_tensor_are_refused_by_name(self, entry: ModelEntry, tmp_path: Path) -> None:
        tensors = load_file(entry.get_file("weights").path)
        name = next(iter(tensors))
        del tensors[name]
        save_file(tensors, tmp_path / "weights.safetensors")
        with pytest.raises(Defect, match=name):
            Predictor(replace_weights(entry, tmp_path / "weights.safetensors"), CPU)

    def test_labels_of_another_task_are_refused(self, entry: ModelEntry) -> None:
        with pytest.raises(Defect, match="names"):
            Predictor(replace(entry, labels=("lung", "heart")), CPU)


def replace_weights(entry: ModelEntry, path: Path) -> ModelEntry:
    file = WeightFile("weights", path, compute_sha256(path), path.stat().st_size)
    return replace(entry, files={**entry.files, "weights": file})
