"""What a catalogue entry says about a classifier on CT-CLIP's image latents. Light: no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

from shared.errors import Defect
from workers.ct_clip.configuration import Architecture as CTCLIPArchitecture


class HeadKind(StrEnum):
    """What becomes of a latent before the linear layer."""

    LAYER_NORM = "layer_norm"
    """The product's classifier, as its service runs it."""

    PLAIN = "plain"
    """The product's classifier trained with `latent_norm` none or l2; latents have length one, so both are equal."""

    RECTIFIED = "rectified"
    """The public ClassFine (LiPro): negative entries become 0."""


@dataclass(frozen=True)
class Architecture:
    """CT-CLIP's architecture, of which the image side is used, and the head on it."""

    num_classes: int
    head: HeadKind = HeadKind.LAYER_NORM
    ct_clip: CTCLIPArchitecture = field(default_factory=CTCLIPArchitecture)

    def __post_init__(self) -> None:
        if self.num_classes <= 0:
            raise Defect("architecture of the classifier: num_classes must be positive")

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """Read the `architecture` table of a catalogue entry; CT-CLIP's fields stand beside the head's."""
        rest = dict(table)
        head, num_classes = rest.pop("head", cls.head), rest.pop("num_classes", None)
        if head not in list(HeadKind):
            raise Defect(f"architecture of the classifier: head is {head!r}, expected one of {[*map(str, HeadKind)]}")
        if not isinstance(num_classes, int):
            raise Defect("architecture of the classifier: num_classes is missing")
        return cls(num_classes, HeadKind(head), CTCLIPArchitecture.from_table(rest))

    def to_table(self) -> dict[str, Any]:
        """Return what `from_table` reads."""
        return {"num_classes": self.num_classes, "head": str(self.head), **asdict(self.ct_clip)}
