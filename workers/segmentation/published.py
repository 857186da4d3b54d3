"""TotalSegmentator's weights as published: a folder with nnU-Net's plans, its dataset and a checkpoint."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import Tensor

from shared.errors import Defect
from workers.checkpoint import open_checkpoint, require_finite_numbers
from workers.segmentation.configuration import Architecture, Preprocessing
from workers.segmentation.labels import TOTAL_NAMES, TOTAL_NUMBERS
from workers.segmentation.network import NETWORK_CLASS, describe_arguments

CONFIGURATION = "3d_fullres"
CHECKPOINT = Path("fold_0", "checkpoint_final.pth")

_FIXED = ("conv_op", "norm_op", "dropout_op", "nonlin")
_PER_STAGE = ("features_per_stage", "n_conv_per_stage", "kernel_sizes", "strides")
_MALFORMED = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)
"""What nnU-Net's plans handler raises over plans that are none."""


@dataclass(frozen=True)
class PublishedFolder:
    """What a published folder says of its network, and the network's tensors by nnU-Net's names."""

    architecture: Architecture
    preprocessing: Preprocessing
    tensors: Mapping[str, Tensor]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a folder, or the folder around a checkpoint. Raises Defect that says what does not fit the fast task."""
        folder = find_model_folder(path)
        _require_labels(_read_json(folder / "dataset.json"))
        plans = _read_json(folder / "plans.json")
        tensors, trainer = _read_checkpoint(folder / CHECKPOINT)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of plans of the old form, which the published ones are
                manager = PlansManager(plans)
                configuration = manager.get_configuration(CONFIGURATION)
                _require_usual(manager, configuration)
                architecture = _read_architecture(configuration, trainer)
                return cls(architecture, _read_preprocessing(manager, configuration), tensors)
        except _MALFORMED as error:
            raise Defect(f"plans.json is not nnU-Net's, or of another version: {type(error).__name__}") from error


def find_model_folder(path: Path) -> Path:
    """Return the folder of `plans.json`: the one named, the only one below it, or the one around a checkpoint."""
    candidates = [path.parent.parent] if path.is_file() else [path, *sorted(path.glob("*"))]
    found = [folder for folder in candidates if (folder / "plans.json").is_file()]
    if len(found) != 1:
        raise Defect(
            f"{len(found)} folders with plans.json were found; name the one whose name begins with the trainer, as"
            " TotalSegmentator downloads it"
        )
    return found[0]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise Defect(f"{path.name} cannot be read as JSON") from error
    if not isinstance(document, dict):
        raise Defect(f"{path.name} is not a JSON object")
    return document


def _read_checkpoint(path: Path) -> tuple[dict[str, Tensor], str]:
    """Return the tensors and the name of the trainer; nothing else of a checkpoint is used."""
    if not path.is_file():
        raise Defect(f"the folder has no {CHECKPOINT}")
    checkpoint = open_checkpoint(path)
    if not isinstance(checkpoint, Mapping):
        raise Defect("the checkpoint is not nnU-Net's: it holds no names")
    state = checkpoint.get("network_weights")
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise Defect("the checkpoint is not nnU-Net's: it has no network_weights")
    tensors = {str(name): tensor for name, tensor in state.items()}
    require_finite_numbers(tensors)
    return tensors, str(checkpoint.get("trainer_name"))


def _require_labels(dataset: Mapping[str, Any]) -> None:
    """Raise Defect unless the numbers are those of `total`. The package goes by numbers, so unknown names may stay."""
    labels = dataset.get("labels")
    if not isinstance(labels, dict) or not all(type(number) is int for number in labels.values()):
        raise Defect("dataset.json has no labels with numbers")
    if sorted(labels.values()) != list(range(len(TOTAL_NAMES) + 1)):
        raise Defect(f"dataset.json numbers {len(labels)} labels; those of TotalSegmentator's total are 0 to 117")
    moved = [name for name, number in labels.items() if TOTAL_NUMBERS.get(name, number) != number]
    if moved:
        raise Defect(f"dataset.json gives other numbers than TotalSegmentator's total to {moved[:8]}")


def _require_usual(manager: PlansManager, configuration: ConfigurationManager) -> None:
    """Raise Defect where the plans ask for what the stage does not do."""
    axes = [list(manager.transpose_forward), list(manager.transpose_backward)]
    if axes != [[0, 1, 2], [0, 1, 2]]:
        raise Defect("plans.json turns the axes, which the fast task does not")
    if list(configuration.normalization_schemes) != ["CTNormalization"]:
        raise Defect(f"plans.json normalises by {configuration.normalization_schemes}, not by CTNormalization")
    if configuration.network_arch_class_name != NETWORK_CLASS:
        raise Defect(f"plans.json names the network {configuration.network_arch_class_name}, not PlainConvUNet")


def _read_architecture(configuration: ConfigurationManager, trainer: str) -> Architecture:
    arguments = dict(configuration.network_arch_init_kwargs)
    stages = int(arguments["n_stages"])
    per_stage = {name: _spread(arguments[name], stages) for name in _PER_STAGE}
    architecture = Architecture.from_table(
        {
            "n_stages": stages,
            **per_stage,
            "n_conv_per_stage_decoder": _spread(arguments["n_conv_per_stage_decoder"], stages - 1),
            "patch_size": configuration.patch_size,
            "trainer": trainer,
            "conv_bias": arguments["conv_bias"],
            "norm_eps": arguments["norm_op_kwargs"].get("eps", 1e-5),
        }
    )
    usual = describe_arguments(architecture)
    unusual = [name for name in _FIXED if not _is_same_class(arguments[name], usual[name])]
    if unusual:
        raise Defect(f"plans.json asks for another {unusual} than TotalSegmentator's")
    return architecture


def _spread(values: object, count: int) -> list[Any]:
    """Return one value for each stage; plans may give one number for all."""
    return list(values) if isinstance(values, Sequence) else [values] * count


def _is_same_class(found: str | None, usual: str | None) -> bool:
    """Whether two dotted names end in the same class: torch offers its layers under several modules."""
    return (found or "").rpartition(".")[2] == (usual or "").rpartition(".")[2]


def _read_preprocessing(manager: PlansManager, configuration: ConfigurationManager) -> Preprocessing:
    intensities = manager.foreground_intensity_properties_per_channel["0"]
    return Preprocessing.from_table(
        {
            "clip_hu": [intensities["percentile_00_5"], intensities["percentile_99_5"]],
            "mean_hu": intensities["mean"],
            "std_hu": intensities["std"],
            "spacing_mm": configuration.spacing,
        }
    )
