"""A diffusion detector of few weights, its checkpoints as they are published, and a study for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typer.testing import CliRunner, Result

from model_weights.catalogue import ModelEntry, load_catalogue
from model_weights.matching import Shape
from workers.command.models import app
from workers.ct_clip.configuration import Preprocessing as VolumePreprocessing
from workers.diffusion.configuration import Architecture, ClassifierShape, Preprocessing, ProcessShape, UNetShape
from workers.diffusion.published import describe_classifier_layout, describe_unet_layout

TINY = Architecture(
    unet=UNetShape(image_size=16, model_channels=32, channel_mult=(1, 1), num_res_blocks=1, attention_resolutions=(2,)),
    classifier=ClassifierShape(
        image_size=16,
        model_channels=32,
        channel_mult=(1, 1),
        num_res_blocks=1,
        attention_resolutions=(2,),
        num_head_channels=16,
    ),
    process=ProcessShape(noise_level=8, classifier_scale=3.0),
)
SLICING = Preprocessing(VolumePreprocessing(shape=(24, 32, 32), spacing_mm=(13.75, 13.5, 13.5)), slice_size=16)

DOCUMENT: Mapping[str, Any] = {
    "name": "diffusion",
    "version": "1",
    "origin": "https://example.org/diffusion",
    "licence": "MIT",
    "architecture": TINY.to_table(),
    "preprocessing": SLICING.to_table(),
}


def make_unet_state(seed: int = 0) -> dict[str, Tensor]:
    """Return a noise predictor's state dict of random numbers."""
    return _draw(describe_unet_layout(TINY.unet), seed, 0.1)


def make_classifier_state(seed: int = 1) -> dict[str, Tensor]:
    """Return a slice classifier's state dict of random numbers."""
    return _draw(describe_classifier_layout(TINY.classifier), seed, 0.3)


def convert(folder: Path, classifier: object, unet: object = None, **changes: object) -> Result:
    """Convert checkpoints through the command."""
    torch.save(classifier, folder / "classifier.pt")
    document = {**DOCUMENT, **changes}
    if unet is not None:
        torch.save(unet, folder / "unet.pt")
        document["unet"] = "unet.pt"
    (folder / "config.json").write_text(json.dumps(document))
    named = ["diffusion", str(folder / "classifier.pt"), "--config", str(folder / "config.json")]
    return CliRunner().invoke(app, ["convert", *named, "--weights-dir", str(folder / "weights"), "--json"])


def get_entry(folder: Path) -> ModelEntry:
    (entry,) = load_catalogue(folder / "weights" / "catalogue.toml")
    return entry


def _draw(layout: Mapping[str, tuple[str, Shape]], seed: int, spread: float) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) * spread for name, (_, shape) in layout.items()}
