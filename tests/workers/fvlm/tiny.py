"""An fVLM of few weights, checkpoints of it as they are published, and their conversion as an operator runs it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typer.testing import CliRunner, Result

from model_weights.catalogue import ModelEntry, load_catalogue
from workers.command.models import app
from workers.ct_clip.configuration import TextShape
from workers.fvlm.configuration import Architecture, ImageShape
from workers.fvlm.published import POSITION_IDS, describe_layout

TINY = Architecture(
    image=ImageShape(
        dim=12, mlp_dim=16, heads=2, depth=3, patch_size=(4, 4, 8), position_grid=(3, 3, 2), levels=(0, 1), pool_heads=2
    ),
    text=TextShape(
        vocab_size=30522, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12,
        max_position_embeddings=32,
    ),
    dim_latent=6,
    prompt_tokens=32,
)  # fmt: skip

PREPROCESSING = {
    "window": [12, 16, 16],
    "least_shape": [12, 12, 16],
    "margins": [1, 1, 1],
    "spacing_mm": [25.0, 20.0, 20.0],
}

DOCUMENT: Mapping[str, Any] = {
    "name": "fvlm",
    "version": "1",
    "origin": "https://example.org/fvlm",
    "licence": "CC-BY-NC-SA-4.0",
    "architecture": TINY.to_table(),
    "preprocessing": PREPROCESSING,
    "thresholds": {"Cardiomegaly": 0.55},
}


def make_state(architecture: Architecture = TINY, seed: int = 0) -> dict[str, Tensor]:
    """Return a published state dict of random numbers, with what it may have and nobody reads."""
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: torch.randn(slot.shape, generator=generator) * 0.3 for name, slot in describe_layout(architecture).items()
    }
    text = architecture.text
    return state | {
        "temp": torch.tensor(0.07),
        POSITION_IDS: torch.arange(text.max_position_embeddings)[None],
        "text_encoder.cls.predictions.decoder.weight": torch.zeros(text.vocab_size, text.hidden_size),
        "image_queue": torch.zeros(256, 0),
        "queue_ptr": torch.zeros(1, dtype=torch.int64),
    }


def convert(folder: Path, checkpoint: object, document: Mapping[str, Any] = DOCUMENT) -> Result:
    """Convert a checkpoint into `folder / "weights"`."""
    torch.save(checkpoint, folder / "checkpoint.pt")
    return convert_file(folder, folder / "checkpoint.pt", document)


def convert_file(folder: Path, path: Path, document: Mapping[str, Any] = DOCUMENT) -> Result:
    """Convert the checkpoint at `path` into `folder / "weights"`."""
    (folder / "config.json").write_text(json.dumps(document))
    named = ["fvlm", str(path), "--config", str(folder / "config.json")]
    return CliRunner().invoke(app, ["convert", *named, "--weights-dir", str(folder / "weights"), "--json"])


def get_entry(folder: Path) -> ModelEntry:
    """Return what was converted."""
    (entry,) = load_catalogue(folder / "weights" / "catalogue.toml")
    return entry
