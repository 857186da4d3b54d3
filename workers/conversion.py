"""Conversion of checkpoints: which module converts which model, and the configuration that comes beside a checkpoint.

Light: torch comes with the module of a model, when one is converted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from model_weights.catalogue import ModelEntry
from shared.errors import Defect

CONVERSION_MODULES: Mapping[str, str] = {
    "mednext": "workers.mednext.conversion",
    "ct_clip": "workers.ct_clip.conversion",
    "supervised": "workers.supervised.conversion",
    "diffusion": "workers.diffusion.conversion",
    "fvlm": "workers.fvlm.conversion",
}
"""Models whose checkpoints can be converted; each module has `Configuration` and `convert_checkpoint`."""


class ConversionModule(Protocol):
    """What a module named in `CONVERSION_MODULES` offers."""

    Configuration: Any

    def convert_checkpoint(self, checkpoint: Path, configuration: Any, catalogue: Path) -> ModelEntry:  # noqa: ANN401
        """Write weights beside the catalogue and an entry into it. Raises Defect when the checkpoint does not fit."""


def convert_checkpoint(model: str, checkpoint: Path, config: Path, catalogue: Path) -> ModelEntry:
    """Convert a checkpoint of one model, described by a JSON file, into an entry of a catalogue."""
    module = cast("ConversionModule", import_module(CONVERSION_MODULES[model]))
    return module.convert_checkpoint(checkpoint, module.Configuration.read(config), catalogue)


def read_configuration(path: Path, required: Sequence[str]) -> dict[str, Any]:
    """Return the JSON object beside a checkpoint. Raises Defect that names what is missing."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Defect("the configuration cannot be read as JSON") from error
    if not isinstance(document, dict):
        raise Defect("the configuration is not a JSON object")
    missing = [field for field in required if not document.get(field)]
    if missing:
        raise Defect(f"the configuration lacks {missing}; weights are not taken without")
    return document
