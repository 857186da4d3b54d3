"""Our intake when only the headers are asked for: candidates and the choice, without the volume."""

from __future__ import annotations

from benchmarks.intake.contenders import ours
from benchmarks.intake.contenders.measuring import Outcome, Place, measure
from workers.intake.question import Question


def read(place: Place) -> Outcome:
    """Return no voxels, only the seconds."""
    return ours.read(place, Question(reads_pixels=False))


if __name__ == "__main__":
    measure(read)
