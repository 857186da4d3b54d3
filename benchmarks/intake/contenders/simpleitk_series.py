"""SimpleITK's series reader, on the files unpacked to the RAM disk."""

from __future__ import annotations

import zipfile

import SimpleITK

from benchmarks.intake.contenders.measuring import Outcome, Place, measure


def read(place: Place) -> Outcome:
    """Return the volume of the only series."""
    with zipfile.ZipFile(place.study) as archive:
        archive.extractall(place.ram)
    folder = str(next(path.parent for path in place.ram.rglob("*.dcm")))
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(folder))
    return Outcome(SimpleITK.GetArrayFromImage(reader.Execute()))


if __name__ == "__main__":
    measure(read)
