"""The name of an upload, made harmless: it stands in identifiers of NIfTI studies, and nothing is stored under it."""

from __future__ import annotations

import re
import unicodedata

LONGEST_NAME = 255
_NAMELESS = "upload"
_EXTENSIONS = (".nii.gz", ".nii", ".zip")


def sanitise_name(file_name: str | None) -> str:
    """Return a file name without folder and extension, of letters, digits, dot, underscore, hyphen and space."""
    name = re.split(r"[/\\]", unicodedata.normalize("NFC", file_name or ""))[-1]
    name = _drop_extension(name)
    name = "".join(character if _is_harmless(character) else "_" for character in name)
    return name.strip(" .")[:LONGEST_NAME] or _NAMELESS


def _drop_extension(name: str) -> str:
    extension = next((ending for ending in _EXTENSIONS if name.lower().endswith(ending)), "")
    return name[: len(name) - len(extension)]


def _is_harmless(character: str) -> bool:
    return character.isalnum() or character in "._- "
