"""Who made what a rendering shows: told in DICOM, in headers and in the captions of pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from model_weights.catalogue import ModelEntry
from shared.settings import WeightsProfile

RESEARCH_USE = "Research use only."
PHANTOM_WEIGHTS = "Demo weights, trained on phantoms."


@dataclass(frozen=True)
class Maker:
    """A model and its weights. `digest` is that of the weights, as the catalogue has it."""

    name: str
    version: str
    digest: str
    is_demo: bool

    @classmethod
    def of_entry(cls, entry: ModelEntry) -> Self:
        """Return the maker that an entry of the catalogue is."""
        return cls(entry.name, entry.version, entry.digest, entry.weights_profile is WeightsProfile.DEMO)

    def describe(self) -> str:
        """Return who it is and what everybody is told, as a caption ends."""
        return f"{self.name} {self.version}. {self.caution}"

    @property
    def caution(self) -> str:
        """What everybody who sees a rendering is told, in 64 characters at most: a DICOM description has no more."""
        return f"{RESEARCH_USE} {PHANTOM_WEIGHTS}" if self.is_demo else RESEARCH_USE
