"""MedNeXt beside reference vectors: every stage of the network, as written and streamed, and of the preprocessing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file as load_tensors
from torch import Tensor

from workers.mednext import streaming
from workers.mednext.configuration import Architecture, Preprocessing
from workers.mednext.model import MedNeXt
from workers.mednext.preprocess import find_body_box, plan_resampling, prepare, resample
from workers.mednext.weights import make_model, rename_key
from workers.parity import ParityCheck
from workers.tensor_parity import compare
from workers.volume import Geometry, Volume
from workers.volume.geometry import convert_lps_to_ras

STAGE_TOLERANCE = 1e-4
PROBABILITY_TOLERANCE = 1e-5
RESAMPLED_TOLERANCE_HU = 1e-3
NORMALISED_TOLERANCE = 1e-5

_Array = npt.NDArray[np.float32]


def check_parity(golden: Path) -> Sequence[ParityCheck]:
    """Run the real code on a golden folder; names of models and cases are read from it."""
    return [*_check_models(golden), *_check_preprocessing(golden), _check_full_layout(golden)]


def _check_models(golden: Path) -> Iterator[ParityCheck]:
    weights = load_tensors(golden / "tiny_weights.safetensors")
    vectors = load_tensors(golden / "tiny_io.safetensors")
    for name, table in json.loads((golden / "tiny_config.json").read_text()).items():
        architecture = {key: value for key, value in table.items() if key != "input_shape"}
        model = make_model(Architecture.from_table(architecture), _select(weights, name))
        yield from _check_model(name, model, _select(vectors, name))


def _check_model(name: str, model: MedNeXt, vectors: Mapping[str, Tensor]) -> Iterator[ParityCheck]:
    ways: Mapping[str, Callable[[Tensor], Iterator[tuple[str, Tensor]]]] = {
        "": model.iterate_activations,
        " streamed": partial(streaming.iterate_activations, model),
    }
    for way, iterate in ways.items():
        with torch.inference_mode():
            for step, activation in iterate(vectors["input"].clone()):
                yield compare(f"{name}/{step}{way}", activation, vectors[step], STAGE_TOLERANCE)
        probabilities = model.activate(activation)
        yield compare(f"{name}/probabilities{way}", probabilities, vectors["probabilities"], PROBABILITY_TOLERANCE)


def _check_preprocessing(golden: Path) -> Iterator[ParityCheck]:
    volumes = load_arrays(golden / "preprocessing_golden.safetensors")
    for case in json.loads((golden / "preprocessing_golden.json").read_text()):
        yield from _check_case(case, make_volume(volumes[case["name"]], np.asarray(case["affine"])))


def _check_case(case: Mapping[str, Any], volume: Volume) -> Iterator[ParityCheck]:
    name = case["name"]
    preprocessing = Preprocessing.from_table({"roi_xyz": case["roi"], "crop_by_body_part": case["crop_by_body_part"]})
    samplings = plan_resampling(volume, preprocessing)
    resampled = resample(volume.hu, samplings, preprocessing.window_hu)
    yield ParityCheck(f"{name}/resampled", _compare_samples(resampled, case, "resampled"), RESAMPLED_TOLERANCE_HU)
    if case["body_box_xyz"] is not None:
        box = np.asarray(find_body_box(volume, preprocessing, samplings))
        yield ParityCheck(f"{name}/body_box", float(np.abs(box - case["body_box_xyz"]).max()), 0.0)
    output = prepare(volume, preprocessing)[0].numpy()
    error = float(np.max([_compare_samples(output, case, "output"), _compare_spread(output, case)]))
    yield ParityCheck(f"{name}/normalised", error, NORMALISED_TOLERANCE)


def make_volume(hu_xyz: npt.NDArray[np.int16], affine_ras: npt.NDArray[np.float64]) -> Volume:
    """Return a volume from an array (x, y, z) and its NIfTI affine."""
    affine = convert_lps_to_ras(affine_ras)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    directions = (affine[:3, :3] / spacing).T
    geometry = Geometry.from_document(
        {
            "spacing_zyx_mm": spacing[::-1],
            "origin_lps_mm": affine[:3, 3],
            "row_direction": directions[0],
            "column_direction": directions[1],
        }
    )
    return Volume(np.ascontiguousarray(hu_xyz.transpose(2, 1, 0)), geometry)


def _check_full_layout(golden: Path) -> ParityCheck:
    """Count the keys of the full-size network whose name or shape differs."""
    layout = json.loads((golden / "full_state_dict.json").read_text())
    with torch.device("meta"):
        model = MedNeXt(Architecture.from_table(layout["config"]))
    ours = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    theirs = {rename_key(name): tuple(shape) for name, (shape, _) in layout["keys"].items()}
    return ParityCheck("full_size/keys", float(len(set(ours.items()) ^ set(theirs.items()))), 0.0)


def _select(tensors: Mapping[str, Tensor], model: str) -> dict[str, Tensor]:
    prefix = f"{model}/"
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _compare_samples(array: _Array, case: Mapping[str, Any], what: str) -> float:
    """Return the largest error of the sampled voxels and of the mean."""
    if list(array.shape) != case[f"{what}_shape"]:
        return math.inf
    voxels = array.reshape(array.shape[-3:])
    errors = [abs(float(voxels[tuple(sample["xyz"])]) - sample["value"]) for sample in case[f"{what}_samples"]]
    # numpy's maximum, because Python's loses a NaN.
    return float(np.max([*errors, abs(float(array.mean(dtype=np.float64)) - case[f"{what}_mean"])]))


def _compare_spread(array: _Array, case: Mapping[str, Any]) -> float:
    spread = abs(float(array.std(dtype=np.float64)) - case["output_std"])
    return float(np.max([spread, abs(float(np.mean(array == 0)) - case["output_zero_fraction"])]))
