"""Parity of our models with reference vectors: what one comparison found, and who compares which model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast


@dataclass(frozen=True)
class ParityCheck:
    """Largest absolute error of one stage of one model beside what is tolerated.

    A stage that gives NaN or the wrong shape has an infinite error.
    """

    stage: str
    error: float
    tolerance: float

    @property
    def passes(self) -> bool:
        """Whether the error is within the tolerance; an error that is not a number never is."""
        return self.error <= self.tolerance


PARITY_MODULES: Mapping[str, str] = {
    "mednext": "workers.mednext.parity",
    "ct_clip": "workers.ct_clip.parity",
    "diffusion": "workers.diffusion.parity",
    "fvlm": "workers.fvlm.parity",
    "fusion": "workers.fusion.parity",
}
"""Models that can be compared; each module has `check_parity(golden) -> Sequence[ParityCheck]`."""


class ParityModule(Protocol):
    """What a module named in `PARITY_MODULES` offers."""

    def check_parity(self, golden: Path) -> Sequence[ParityCheck]:
        """Run the real code on a golden folder. Raises OSError or KeyError when the folder is not of its layout."""


def check_parity(name: str, golden: Path) -> Sequence[ParityCheck]:
    """Compare the model `name` with the vectors of a golden folder."""
    module = cast("ParityModule", import_module(PARITY_MODULES[name]))
    return module.check_parity(golden)
