"""What kept material of phantoms depends on, as a short digest: where any of it changes, the material is made anew."""

from __future__ import annotations

import hashlib
from pathlib import Path

import phantom

_NOT_PAINTING = ("command.py", "corpus", "dicom.py", "gallery.py", "report.py")
"""What of the phantom writes a study, or about it, or spoils its files, and does not change what is in it."""


def digest_recipe(settings: str, *sources: str | None) -> str:
    """Return a digest of settings, of all that paints a phantom, and of further source files (`module.__file__`)."""
    root = Path(phantom.__path__[0])
    painting = [path for path in sorted(root.rglob("*.py")) if not {path.name, path.parent.name} & set(_NOT_PAINTING)]
    digest = hashlib.sha256(settings.encode())
    for path in (*painting, *(Path(str(source)) for source in sources)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
