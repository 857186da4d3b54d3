"""Our intake as the stage runs it: a forked child reads the study and writes the volume, which is read back here."""

from __future__ import annotations

import zipfile
from pathlib import Path

from benchmarks.intake.contenders.measuring import Outcome, Place, measure
from shared.artefacts import UploadKind
from workers.intake.children import ChildPool
from workers.intake.limits import IntakeLimits
from workers.intake.messages import Order
from workers.intake.report import IntakeReport
from workers.volume import VolumeFile

_POOL = ChildPool()


def read(place: Place) -> Outcome:
    """Return the volume, and the seconds of each step."""
    path = place.disk / "volume.b2nd"
    report = _order(place.study, path)
    if report.problem is not None:
        raise SystemExit(f"The study was refused: {report.problem.code}: {report.problem.detail}")
    hu = VolumeFile(path).read().hu
    return Outcome(hu, steps=dict(report.seconds))


def _order(study: Path, volume: Path) -> IntakeReport:
    order = Order(address=str(study), kind=UploadKind.ZIP, volume_path=volume, limits=IntakeLimits())
    return _POOL.read(order, lambda _share: None)


def _wait_for_the_nursery(place: Place) -> None:
    """Have an empty archive refused: the answer comes when the nursery has imported everything."""
    empty = place.disk / "empty.zip"
    with zipfile.ZipFile(empty, "w"):
        pass
    _order(empty, place.disk / "none.b2nd")


if __name__ == "__main__":
    # Only processes that have ended count in the peak.
    measure(read, prepare=_wait_for_the_nursery, finish=_POOL.close)
