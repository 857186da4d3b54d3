"""dicom2nifti, on the files unpacked to the RAM disk; what it writes there is read by nibabel."""

from __future__ import annotations

import zipfile

import nibabel
import numpy as np
from dicom2nifti import convert_dicom

from benchmarks.intake.contenders.measuring import Outcome, Place, measure


def read(place: Place) -> Outcome:
    """Return the volume, as nibabel gives it."""
    with zipfile.ZipFile(place.study) as archive:
        archive.extractall(place.ram / "study")
    folder = next(path.parent for path in place.ram.rglob("*.dcm"))
    convert_dicom.dicom_series_to_nifti(folder, place.ram / "volume.nii")
    image = nibabel.Nifti1Image.from_filename(place.ram / "volume.nii", mmap=False)
    return Outcome(np.asanyarray(image.dataobj), image.affine)


if __name__ == "__main__":
    measure(read)
