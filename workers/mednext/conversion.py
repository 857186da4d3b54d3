"""From a public MedNeXt checkpoint and its configuration to pinned safetensors and a catalogue entry.

The configuration is JSON and must name the classes, because the checkpoint does not:

    {"name": "mednext-full", "version": "1", "origin": "https://...", "licence": "CC-BY-4.0",
     "classes": ["normal", ...], "architecture": {...}, "preprocessing": {...}, "thresholds": {"nodule": 0.4}}

`architecture` and `preprocessing` may be left out: the full-size model's are the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import torch
from safetensors.torch import save_file
from torch import Tensor

from model_weights.catalogue import ModelEntry
from model_weights.publishing import publish_entry
from shared.errors import Defect
from shared.settings import WeightsProfile
from shared.stages import StageName
from workers.checkpoint import open_checkpoint, require_finite_numbers
from workers.conversion import PROVENANCE, read_configuration, read_labels, read_thresholds
from workers.mednext.configuration import Architecture, Preprocessing
from workers.mednext.model import MedNeXt
from workers.mednext.weights import make_model, unwrap_checkpoint

_REQUIRED = (*PROVENANCE, "classes")
_QUESTION_SHAPE = (1, 1, 40, 36, 32)
_QUESTION_SEED = 7


@dataclass(frozen=True)
class Configuration:
    """What must be known of a checkpoint beside its tensors."""

    name: str
    version: str
    origin: str
    licence: str
    classes: tuple[str, ...]
    architecture: Architecture
    preprocessing: Preprocessing
    thresholds: Mapping[str, float]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the JSON file. Raises Defect that names what is missing."""
        document = read_configuration(path, _REQUIRED)
        classes = read_labels(document, "classes") or ()
        return cls(
            **{field: str(document[field]) for field in PROVENANCE},
            classes=classes,
            architecture=_read_architecture(document.get("architecture", {}), len(classes)),
            preprocessing=Preprocessing.from_table(document.get("preprocessing", {})),
            thresholds=read_thresholds(document),
        )


def _read_architecture(table: object, classes: int) -> Architecture:
    if not isinstance(table, Mapping):
        raise Defect("the configuration: `architecture` must be an object")
    outputs = table.get("num_classes", classes)
    if outputs != classes:
        raise Defect(f"the configuration names {classes} classes for {outputs} outputs")
    return Architecture.from_table({**table, "num_classes": classes})


def convert_checkpoint(checkpoint: Path, configuration: Configuration, catalogue: Path) -> ModelEntry:
    """Write the weights and their known answer beside the catalogue, and the entry into it."""
    tensors = unwrap_checkpoint(open_checkpoint(checkpoint))
    require_finite_numbers(tensors)
    return publish_model(make_model(configuration.architecture, tensors), configuration, WeightsProfile.FULL, catalogue)


def publish_model(
    model: MedNeXt,
    configuration: Configuration,
    profile: WeightsProfile,
    catalogue: Path,
    card: Path | None = None,
) -> ModelEntry:
    """Write a model in memory, its known answer and its card beside the catalogue, and the entry into it."""
    with TemporaryDirectory(prefix="ctclip-") as folder:
        sources = {"weights": Path(folder, "weights.safetensors"), "known_answer": Path(folder, "answer.safetensors")}
        tensors = {name: tensor.detach().float().contiguous() for name, tensor in model.state_dict().items()}
        save_file(tensors, sources["weights"])
        save_file(make_known_answer(model), sources["known_answer"])
        return publish_entry(
            name=configuration.name,
            stage=StageName.MEDNEXT,
            version=configuration.version,
            weights_profile=profile,
            architecture=configuration.architecture.to_table(),
            preprocessing=configuration.preprocessing.to_table(),
            labels=configuration.classes,
            thresholds=configuration.thresholds,
            sources=sources,
            origin=configuration.origin,
            licence=configuration.licence,
            card=card,
            catalogue=catalogue,
        )


@torch.inference_mode()
def make_known_answer(model: MedNeXt) -> dict[str, Tensor]:
    """Return a small seeded `input` and its `probabilities`, computed by the network as written."""
    noise = torch.randn(_QUESTION_SHAPE, generator=torch.Generator().manual_seed(_QUESTION_SEED))
    question = noise.half()  # half the size, and exact when read back
    return {"input": question, "probabilities": model.activate(model(question.float()))}
