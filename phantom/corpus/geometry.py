"""Where the slices lie: rows B28, B34 and B35, and the good studies that lie unusually."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from pydicom import Dataset

from phantom.corpus.case import Case, accepted, rejected, whole
from phantom.corpus.chest import Chest
from phantom.corpus.files import edit, encode, pack, set_instance_uid
from phantom.corpus.syntaxes import read_hu, set_stored

_AIR_HU = -1000
_TILT_DEGREES = 5.0
_TOO_TILTED_DEGREES = 35.0
_OBLIQUE_DEGREES = 10.0
_TOO_OBLIQUE_DEGREES = 25.0
_UNEVEN_SHARE = 0.04


def set_position(dataset: Dataset, position_mm: tuple[float, float, float]) -> None:
    """Move a slice; its SliceLocation is left as it was, which no reader may rely on."""
    dataset.ImagePositionPatient = [f"{value:.6f}" for value in position_mm]


def get_position(dataset: Dataset) -> tuple[float, float, float]:
    """Return ImagePositionPatient."""
    x, y, z = (float(value) for value in dataset.ImagePositionPatient)
    return x, y, z


def tilt(chest: Chest, degrees: float) -> bytes:
    """Return the study as a tilted gantry would have scanned it; GantryDetectorTilt goes on saying zero."""
    slope = math.tan(math.radians(degrees))
    middle_mm = get_position(chest.read(chest.middle))[2]

    def change(dataset: Dataset) -> None:
        x, y, z = get_position(dataset)
        shift = round((z - middle_mm) * slope / float(dataset.PixelSpacing[0]))
        shown = np.full_like(read_hu(dataset), _AIR_HU)
        hu = read_hu(dataset)
        if abs(shift) < len(hu):
            shown[max(0, -shift) : len(hu) - max(0, shift)] = hu[max(0, shift) : len(hu) - max(0, -shift)]
        set_stored(dataset, shown, intercept=0)
        set_position(dataset, (x, y + (z - middle_mm) * slope, z))

    return pack(edit(chest.files, change))


def lean(chest: Chest, degrees: float) -> bytes:
    """Return the study with its slices leant about the axis from right to left; they stay above one another."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y, z = chest.study.origin_lps_mm

    def change(dataset: Dataset) -> None:
        along = get_position(dataset)[2] - z
        dataset.ImageOrientationPatient = ["1", "0", "0", "0", f"{cosine:.8f}", f"{sine:.8f}"]
        set_position(dataset, (x, y - sine * along, z + cosine * along))

    return pack(edit(chest.files, change))


def turn_prone(dataset: Dataset) -> None:
    """Turn the image by half a circle, as of a patient that lies prone; every voxel stays where it was in space."""
    hu = read_hu(dataset)
    x, y, z = get_position(dataset)
    spacing_y, spacing_x = (float(value) for value in dataset.PixelSpacing)
    dataset.PatientPosition = "HFP"
    dataset.ImageOrientationPatient = ["-1", "0", "0", "0", "-1", "0"]
    set_position(dataset, (x + (hu.shape[1] - 1) * spacing_x, y + (hu.shape[0] - 1) * spacing_y, z))
    set_stored(dataset, hu[::-1, ::-1], intercept=0)


def turn_feet_first(dataset: Dataset) -> None:
    """Mirror the rows, as of a patient that lies feet first; every voxel stays where it was in space."""
    hu = read_hu(dataset)
    x, y, z = get_position(dataset)
    dataset.PatientPosition = "FFS"
    dataset.ImageOrientationPatient = ["-1", "0", "0", "0", "1", "0"]
    set_position(dataset, (x + (hu.shape[1] - 1) * float(dataset.PixelSpacing[1]), y, z))
    set_stored(dataset, hu[:, ::-1], intercept=0)


def _space_unevenly(chest: Chest) -> bytes:
    shift_mm = _UNEVEN_SHARE * chest.study.spacing_zyx_mm[0]

    def change(dataset: Dataset) -> None:
        x, y, z = get_position(dataset)
        set_position(dataset, (x, y, z + shift_mm * (int(dataset.InstanceNumber) % 2)))

    return pack(edit(chest.files, change))


def _drop(chest: Chest, count: int) -> bytes:
    gone = set(chest.names[chest.middle : chest.middle + count])
    return pack({name: content for name, content in chest.files.items() if name not in gone})


def _repeat_position(chest: Chest) -> bytes:
    """Return the study with a second, other image at one position."""
    dataset = chest.read(chest.middle)
    set_instance_uid(dataset, "1.2.3.4")
    set_stored(dataset, read_hu(dataset) + np.int16(1), intercept=0)
    return pack({**chest.files, "again.dcm": encode(dataset)})


def _change_all(chest: Chest, change: Callable[[Dataset], object]) -> bytes:
    return pack(edit(chest.files, change))


def _take(chest: Chest, start: float, end: float) -> bytes:
    """Keep the files from one share of the study to another."""
    return pack(chest.take(int(start * len(chest.names)), int(end * len(chest.names))))


CASES: tuple[Case, ...] = (
    Case(
        "B28-few",
        "Twelve slices",
        lambda chest: pack(chest.take(chest.middle, chest.middle + 12)),
        rejected("insufficient_coverage"),
    ),
    Case("B28-cut", "A third of a chest", partial(_take, start=0.33, end=0.66), rejected("insufficient_coverage")),
    Case(
        "B34-gap",
        "Four slices missing in the middle",
        partial(_drop, count=4),
        rejected("slice_gap", facts={"missing_slices": 4}),
    ),
    Case("B34-one-missing", "One slice missing", partial(_drop, count=1), accepted("slices_interpolated")),
    Case("B34-uneven", "Steps that differ by 8 %", _space_unevenly, accepted("non_uniform_spacing")),
    Case(
        "B34-repeated", "Another image at a position that is taken", _repeat_position, accepted("duplicate_positions")
    ),
    Case("B35-tilt", "A gantry tilted by 5 degrees", partial(tilt, degrees=_TILT_DEGREES), accepted("tilt_corrected")),
    Case(
        "B35-too-tilted",
        "A gantry tilted by 35 degrees",
        partial(tilt, degrees=_TOO_TILTED_DEGREES),
        rejected("invalid_geometry"),
    ),
    Case(
        "G-oblique",
        "Slices leant by 10 degrees",
        partial(lean, degrees=_OBLIQUE_DEGREES),
        accepted("oblique", study=whole),
    ),
    Case(
        "B36-too-oblique",
        "Slices leant by 25 degrees",
        partial(lean, degrees=_TOO_OBLIQUE_DEGREES),
        rejected("no_usable_series"),
    ),
    Case("G-prone", "Head first, prone", partial(_change_all, change=turn_prone), accepted(study=whole)),
    Case("G-feet-first", "Feet first", partial(_change_all, change=turn_feet_first), accepted(study=whole)),
)
