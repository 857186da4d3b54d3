"""Files that later runs read: whole or not there, whenever a run is cut off."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch


def keep_checkpoint(path: Path, kept: Mapping[str, object]) -> None:
    """Write what a training goes on from."""
    draft = path.with_suffix(".new")
    torch.save(dict(kept), draft)
    draft.replace(path)


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return what `keep_checkpoint` wrote; None where nothing is kept yet."""
    if not path.exists():
        return None
    kept: dict[str, Any] = torch.load(path, weights_only=True)
    return kept


def keep_arrays(path: Path, arrays: Mapping[str, npt.ArrayLike]) -> None:
    """Write arrays by name as `.npz`. Several processes may keep the same file."""
    draft = path.with_suffix(f".{os.getpid()}.npz")
    np.savez(draft, allow_pickle=False, **{name: np.asarray(values) for name, values in arrays.items()})
    draft.replace(path)


def keep_document(path: Path, document: dict[str, Any]) -> None:
    """Write a small file that is whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(document), encoding="utf-8")
    draft.replace(path)


def read_document(path: Path) -> dict[str, Any]:
    """Return what `keep_document` wrote."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document
