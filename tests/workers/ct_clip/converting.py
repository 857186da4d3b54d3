"""Conversion of a checkpoint through the command that an operator runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from typer.testing import CliRunner, Result

from model_weights.catalogue import ModelEntry, load_catalogue
from tests.workers.ct_clip.tiny import TINY
from workers.command.models import app

DOCUMENT = {
    "name": "ct-clip",
    "version": "2",
    "origin": "https://example.org/ct-clip",
    "licence": "CC-BY-NC-SA-4.0",
    "architecture": TINY.to_table(),
    "preprocessing": {"variant": "public", "shape": [12, 16, 16]},
    "thresholds": {"Pneumonia": 0.55},
}


def convert(folder: Path, checkpoint: object, document: Mapping[str, Any] = DOCUMENT, model: str = "ct_clip") -> Result:
    torch.save(checkpoint, folder / "checkpoint.pt")
    return convert_file(folder, folder / "checkpoint.pt", document, model)


def convert_file(folder: Path, path: Path, document: Mapping[str, Any] = DOCUMENT, model: str = "ct_clip") -> Result:
    (folder / "config.json").write_text(json.dumps(document))
    named = [model, str(path), "--config", str(folder / "config.json")]
    return CliRunner().invoke(app, ["convert", *named, "--weights-dir", str(folder / "weights"), "--json"])


def get_entry(folder: Path) -> ModelEntry:
    (entry,) = load_catalogue(folder / "weights" / "catalogue.toml")
    return entry
