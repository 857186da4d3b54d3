"""The loop that most notebooks have: pydicom reads each entry, the slices are sorted by height and stacked."""

from __future__ import annotations

import zipfile
from io import BytesIO

import numpy as np
from pydicom import Dataset, dcmread

from benchmarks.intake.contenders.measuring import Outcome, Place, measure


def read(place: Place) -> Outcome:
    """Return the volume of all slices."""
    with zipfile.ZipFile(place.study) as archive:
        slices = [dcmread(BytesIO(archive.read(name))) for name in archive.namelist()]
    slices.sort(key=lambda dataset: float(dataset.ImagePositionPatient[2]))
    hu = np.stack([dataset.pixel_array for dataset in slices]).astype(np.int16)
    for plane, dataset in zip(hu, slices, strict=True):
        _rescale(plane, dataset)
    return Outcome(hu)


def _rescale(plane: np.ndarray, dataset: Dataset) -> None:
    if dataset.RescaleSlope != 1:
        plane[...] = float(dataset.RescaleSlope) * plane.astype(np.float64)
    plane += np.int16(dataset.RescaleIntercept)


if __name__ == "__main__":
    measure(read)
