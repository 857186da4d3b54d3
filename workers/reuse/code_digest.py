"""Which code answers: a digest of the sources of the workers and of the libraries whose versions change numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_SOURCES = Path(__file__).parents[1]
_PRODUCT = "ct-clip-inference"
_LIBRARIES = (
    *("torch", "numpy", "scipy", "scikit-learn", "lightgbm", "transformers", "tokenizers"),
    *("TotalSegmentator", "blosc2", "pydicom", "imagecodecs", "nibabel", "highdicom"),
)


def list_versions() -> Mapping[str, str | None]:
    """Return the version of the product and of each library that computes; None where one is not installed."""
    return {name: _find_version(name) for name in (_PRODUCT, *_LIBRARIES)}


@cache
def compute_code_digest() -> str:
    """Return the SHA-256 over every module of the workers and every version; read once, when the process starts."""
    digest = hashlib.sha256(json.dumps(list_versions(), sort_keys=True).encode())
    for path in sorted(_SOURCES.rglob("*.py")):
        source = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(_SOURCES).as_posix()} {source}\n".encode())
    return digest.hexdigest()


def _find_version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
