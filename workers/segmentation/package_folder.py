"""A TotalSegmentator folder made from a catalogue entry: what the package's own command line needs to run our weights.

nnU-Net reads its checkpoint with pickle, so a folder that somebody else made is their code. This one is written here,
from safetensors whose digest the catalogue pins, and kept under the entry's digest. The stage itself does without.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch

from model_weights.catalogue import ModelEntry
from model_weights.loading import load_tensors
from workers.segmentation.configuration import Architecture, Preprocessing
from workers.segmentation.labels import TOTAL_NAMES, TOTAL_NUMBERS
from workers.segmentation.network import NETWORK_CLASS, describe_arguments, make_network

DATASET = "Dataset297_TotalSegmentator_total_3mm_1559subj"
"""Folder of the fast model of `total`; the package deletes one whose name ends in `_v204`."""

CONFIGURATION = "3d_fullres"
PLANS = "nnUNetPlans"
_WEIGHTS, _HOME = "weights", "home"


def make_package_folder(entry: ModelEntry, cache_dir: Path) -> Path:
    """Return a folder with `home` and `weights` for the package, made once for each entry. Safe for several at once."""
    folder = cache_dir / "segmentation" / entry.digest
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(mkdtemp(dir=folder.parent, prefix="draft-"))
        try:
            _write_model(entry, draft / _WEIGHTS)
            _write_home(draft / _HOME)
            _keep(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return folder


def make_environment(folder: Path) -> dict[str, str]:
    """Return the variables that must be set before the package is imported."""
    return {"TOTALSEG_HOME_DIR": str(folder / _HOME), "TOTALSEG_WEIGHTS_PATH": str(folder / _WEIGHTS)}


def locate_model(folder: Path, trainer: str) -> Path:
    """Return the folder that nnU-Net calls the trained model."""
    return folder / _WEIGHTS / DATASET / f"{trainer}__{PLANS}__{CONFIGURATION}"


def _keep(draft: Path, folder: Path) -> None:
    try:
        draft.rename(folder)
    except OSError:
        if not folder.exists():  # else another process was first, with the same content
            raise


def _write_home(home: Path) -> None:
    """Write the package's settings. Without the file it makes one that sends usage statistics."""
    home.mkdir()
    settings = {
        "totalseg_id": "totalseg_offline",
        "send_usage_stats": False,
        "prediction_counter": 0,
        "statistics_disclaimer_shown": True,
    }
    _write_json(home / "config.json", settings)


def _write_model(entry: ModelEntry, weights: Path) -> None:
    architecture = Architecture.from_table(entry.architecture)
    model = weights / DATASET / f"{architecture.trainer}__{PLANS}__{CONFIGURATION}"
    (model / "fold_0").mkdir(parents=True)
    _write_json(model / "dataset.json", make_dataset())
    _write_json(model / "plans.json", make_plans(architecture, Preprocessing.from_table(entry.preprocessing)))
    network = make_network(architecture, len(TOTAL_NAMES) + 1, load_tensors(entry.get_file("weights")))
    checkpoint = {
        "network_weights": network.state_dict(),
        "trainer_name": architecture.trainer,
        "init_args": {"configuration": CONFIGURATION, "fold": 0},
        "inference_allowed_mirroring_axes": None,
    }
    torch.save(checkpoint, model / "fold_0" / "checkpoint_final.pth")


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    with path.open("w", encoding="utf-8") as stream:
        json.dump(document, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())


def make_dataset() -> dict[str, Any]:
    """Return `dataset.json`."""
    return {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **TOTAL_NUMBERS},
        "numTraining": 1,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "NibabelIOWithReorient",
    }


def make_plans(architecture: Architecture, preprocessing: Preprocessing) -> dict[str, Any]:
    """Return `plans.json`. What only a training would read has the values of a window."""
    spacing, patch = list(preprocessing.spacing_mm), list(architecture.patch_size)
    low, high = preprocessing.clip_hu
    intensities = {"min": low, "percentile_00_5": low, "percentile_99_5": high, "max": high}
    intensities |= {"mean": preprocessing.mean_hu, "median": preprocessing.mean_hu, "std": preprocessing.std_hu}
    return {
        "dataset_name": DATASET,
        "plans_name": PLANS,
        "image_reader_writer": "NibabelIOWithReorient",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "original_median_spacing_after_transp": spacing,
        "original_median_shape_after_transp": patch,
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": intensities},
        "configurations": {CONFIGURATION: _make_configuration(architecture, spacing, patch)},
    }


def _make_configuration(architecture: Architecture, spacing: list[float], patch: list[int]) -> dict[str, Any]:
    resampling = {"is_seg": False, "order_z": 0, "force_separate_z": None}
    function = "resample_data_or_seg_to_shape"
    return {
        "data_identifier": f"{PLANS}_{CONFIGURATION}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": patch,
        "median_image_size_in_voxels": patch,
        "spacing": spacing,
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": function,
        "resampling_fn_data_kwargs": {**resampling, "order": 3},
        "resampling_fn_seg": function,
        "resampling_fn_seg_kwargs": {**resampling, "is_seg": True, "order": 1},
        "resampling_fn_probabilities": function,
        "resampling_fn_probabilities_kwargs": {**resampling, "order": 1},
        "batch_dice": False,
        "architecture": {
            "network_class_name": NETWORK_CLASS,
            "arch_kwargs": describe_arguments(architecture),
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }
