"""Our intake in one process: everything that a study is asked before it is accepted, lungs included."""

from __future__ import annotations

from importlib import import_module

from benchmarks.intake.contenders.measuring import Outcome, Place, measure
from workers.intake.archive import FileSource
from workers.intake.late_imports import RARELY_USED, put_off_imports
from workers.intake.limits import IntakeLimits
from workers.intake.question import Question

# As the product's own reader does; and no volume file is written here, which blosc2 is for.
put_off_imports(RARELY_USED | {"blosc2"})
read_study = import_module("workers.intake.study").read_study

_FULL = Question()


def read(place: Place, question: Question = _FULL) -> Outcome:
    """Return the volume, and the seconds of each step."""
    with FileSource(place.study) as source:
        study = read_study(source, question, IntakeLimits(), scratch=place.disk, report=lambda _share: None)
    if study.report.problem is not None:
        raise SystemExit(f"The study was refused: {study.report.problem.code}: {study.report.problem.detail}")
    return Outcome(None if study.volume is None else study.volume.hu, steps=dict(study.report.seconds))


if __name__ == "__main__":
    measure(read)
