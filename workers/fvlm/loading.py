"""The image side with exactly the given weights. What inference with stored text latents needs: no transformers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from model_weights.catalogue import ModelEntry
from model_weights.loading import load_tensors
from model_weights.matching import require_fit
from workers.ct_clip.loading import fill, take_side
from workers.fvlm.configuration import Architecture
from workers.fvlm.image_tower import ImageTower

TEMPERATURE = "temperature"


def load_image_side(entry: ModelEntry, device: torch.device) -> tuple[ImageTower, Tensor]:
    """Return the image side of an entry and the temperature, by digest. Raises Defect when the file does not fit."""
    tensors = load_tensors(entry.get_file("weights"), device)
    others = {name: tuple(each.shape) for name, each in tensors.items() if not name.startswith("image.")}
    require_fit("fVLM", {TEMPERATURE: ()}, others)
    return make_image_tower(Architecture.from_table(entry.architecture), tensors), tensors[TEMPERATURE]


def make_image_tower(architecture: Architecture, tensors: Mapping[str, Tensor]) -> ImageTower:
    """Return the image side alone, ready for inference; keys as in the whole network."""
    with torch.device("meta"):
        tower = ImageTower(architecture.image, architecture.dim_latent)
    return fill(tower, take_side(tensors, "image."), "fVLM's image side")


def compile_blocks(tower: ImageTower) -> None:
    """Have the blocks compiled at their first use. They share one program; the last takes another shape each time."""
    for block in tower.encoder.blocks[:-1]:
        block.compile(dynamic=False)
