"""One measured reading, in this process: the clock starts when everything has been imported."""

from __future__ import annotations

import hashlib
import json
import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

RAM_DISK = Path("/dev/shm")  # where tools that cannot read a ZIP find it unpacked
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB", re.MULTILINE)
_RESETS_THE_PEAK = "5"  # proc(5), clear_refs


@dataclass(frozen=True)
class Place:
    """What a contender is given: the study, and empty folders on a RAM disk and on the disk."""

    study: Path
    ram: Path
    disk: Path


@dataclass(frozen=True)
class Outcome:
    """What a contender made: HU as (z, y, x) in LPS; or, with `affine_ras`, as (x, y, z) wherever that leads."""

    hu: npt.NDArray[Any] | None
    affine_ras: npt.NDArray[np.float64] | None = None
    steps: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """One reading. `resting_mb` is the memory before it: interpreter and libraries.

    `peak_mb` is the largest of this process and of those that it started, whichever is larger. `steps` are the
    seconds that the contender itself tells of.
    """

    seconds: float
    peak_mb: float
    resting_mb: float
    digest: str | None
    steps: dict[str, float]


def measure(
    read: Callable[[Place], Outcome],
    *,
    prepare: Callable[[Place], None] = lambda _place: None,
    finish: Callable[[], None] = lambda: None,
) -> None:
    """Read the study that the command line names, and print the measurement as JSON.

    `prepare` runs before the clock starts, `finish` when it has stopped.
    """
    with tempfile.TemporaryDirectory(dir=RAM_DISK) as ram, tempfile.TemporaryDirectory() as disk:
        place = Place(Path(sys.argv[1]), Path(ram), Path(disk))
        prepare(place)
        Path("/proc/self/clear_refs").write_text(_RESETS_THE_PEAK)
        resting_mb = _read_own_peak_mb()
        started = time.perf_counter()
        outcome = read(place)
        seconds = time.perf_counter() - started
        finish()
        peak_mb = max(_read_own_peak_mb(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3)
        digest = None if outcome.hu is None else _digest(outcome.hu, outcome.affine_ras)
    print(json.dumps(asdict(Measurement(seconds, peak_mb, resting_mb, digest, outcome.steps))))


def _read_own_peak_mb() -> float:
    """Return the peak of this process. `getrusage` would count that of the process that started it."""
    found = _PEAK.search(Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1e3


def _digest(hu: npt.NDArray[Any], affine_ras: npt.NDArray[np.float64] | None) -> str:
    """Return the SHA-256 over little-endian int16, (z, y, x) in LPS."""
    if affine_ras is not None:
        hu = _turn(hu, affine_ras)
    return hashlib.sha256(np.ascontiguousarray(hu, dtype="<i2").data).hexdigest()


def _turn(voxels: npt.NDArray[Any], affine_ras: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    """Return a NIfTI's voxels as (z, y, x) in LPS."""
    axes = np.abs(affine_ras[:3, :3]).argmax(axis=1)
    turned = voxels.transpose(*axes)
    for direction, (axis, wanted) in enumerate(zip(axes, (-1, -1, 1), strict=True)):
        if affine_ras[direction, axis] * wanted < 0:
            turned = np.flip(turned, direction)
    return turned.transpose(2, 1, 0)
