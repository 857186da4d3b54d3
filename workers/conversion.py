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
    "segmentation": "workers.segmentation.conversion",
    "fvlm": "workers.fvlm.conversion",
}
"""Models whose checkpoints can be converted; each module has `Configuration` and `convert_checkpoint`."""

PROVENANCE = ("name", "version", "origin", "licence")
"""What is asked of every checkpoint."""


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
    except (OSError, ValueError, RecursionError) as error:
        raise Defect("the configuration cannot be read as JSON in UTF-8") from error
    if not isinstance(document, dict):
        raise Defect("the configuration is not a JSON object")
    missing = [field for field in required if not document.get(field)]
    if missing:
        raise Defect(f"the configuration lacks {missing}; weights are not taken without")
    wrong = [field for field in required if field in PROVENANCE and not _is_line(document[field])]
    if wrong:
        raise Defect(f"the configuration: {wrong} must be texts of one line")
    return document


def locate_beside(configuration: Path, named: object, shipped: Path) -> Path:
    """Return a file that a configuration names, beside it; the shipped one where it names none."""
    return shipped if named is None else configuration.parent / str(named)


def read_labels(document: Mapping[str, Any], field: str = "labels") -> tuple[str, ...] | None:
    """Return the labels of the configuration, None where it has none. Raises Defect."""
    names = document.get(field)
    if names is None:
        return None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and _is_line(name) for name in names):
        raise Defect(f"the configuration: `{field}` must be a list of names, each a text of one line")
    if len(set(names)) != len(names):
        raise Defect(f"the configuration: `{field}` names something twice")
    return tuple(names)


def read_thresholds(document: Mapping[str, Any]) -> dict[str, float]:
    """Return the thresholds of the configuration by label. Raises Defect."""
    thresholds = document.get("thresholds", {})
    if not isinstance(thresholds, dict):
        raise Defect("the configuration: `thresholds` must be an object of labels and numbers")
    wrong = [name for name, value in thresholds.items() if type(value) not in (int, float) or not 0 <= value <= 1]
    if wrong:
        raise Defect(f"the configuration: the thresholds of {wrong} must be numbers between 0 and 1")
    return thresholds


def _is_line(value: object) -> bool:
    """Return whether a value is a number or a text that can stand in one line of a catalogue."""
    if isinstance(value, str):
        return value.isprintable() and bool(value.strip())
    return isinstance(value, int | float) and not isinstance(value, bool)
