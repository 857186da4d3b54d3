"""The statements that CT-CLIP was trained to read. Light: no torch."""

from __future__ import annotations

from collections.abc import Sequence


def make_prompts(labels: Sequence[str]) -> list[str]:
    """Return two statements for each label, that it is present and that it is not, as CT-CLIP was trained on."""
    return [statement for label in labels for statement in (f"{label} is present.", f"{label} is not present.")]
