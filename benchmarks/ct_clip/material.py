"""What both sides are given: weights and a volume of the published size, made from a recipe, as files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from model_weights.catalogue import WeightFile
from model_weights.verifying import compute_sha256
from workers.ct_clip.configuration import Architecture
from workers.ct_clip.full_size_parity import make_recipe_tower, make_recipe_volume
from workers.ct_clip.published import describe_layout

IMAGE = "image."
_DTYPES = {"position_ids": torch.int64}


@dataclass(frozen=True)
class Material:
    """Paths in one folder."""

    folder: Path

    @property
    def weights(self) -> Path:
        """The image side as the platform stores it: safetensors, 0.7 GB."""
        return self.folder / "weights.safetensors"

    @property
    def checkpoint(self) -> Path:
        """A checkpoint as published: every tensor of both sides, 1.8 GB."""
        return self.folder / "checkpoint.pt"

    @property
    def volume(self) -> Path:
        """A prepared volume (1, 1, z, x, y)."""
        return self.folder / "volume.safetensors"

    def pin_weights(self) -> WeightFile:
        """Return the weights as a catalogue pins them."""
        size = self.weights.stat().st_size
        return WeightFile("weights", self.weights, (self.folder / "sha256").read_text(), size)


def write_material(folder: Path) -> Material:
    """Write everything. Takes 3.5 GB of disk and half a minute."""
    material = Material(folder)
    tensors = {IMAGE + name: tensor.contiguous() for name, tensor in make_recipe_tower().state_dict().items()}
    save_file(tensors, material.weights)
    (folder / "sha256").write_text(compute_sha256(material.weights))
    save_file({"volume": make_recipe_volume()}, material.volume)
    torch.save(_make_checkpoint(tensors), material.checkpoint)
    return material


def _make_checkpoint(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict of the published layout; what the image side does not have is noise."""
    layout = describe_layout(Architecture())
    return {
        name: tensors[slot.ours].view(slot.shape) if slot.ours in tensors else _make_noise(name, slot.shape)
        for name, slot in layout.items()
    }


def _make_noise(name: str, shape: tuple[int, ...]) -> Tensor:
    return torch.rand(shape).to(_DTYPES.get(name.rpartition(".")[2], torch.float32))
