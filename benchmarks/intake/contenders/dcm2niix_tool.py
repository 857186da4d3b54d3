"""dcm2niix, on the files unpacked to the RAM disk; what it writes there is read by nibabel."""

from __future__ import annotations

import subprocess
import zipfile

import dcm2niix
import nibabel
import numpy as np

from benchmarks.intake.contenders.measuring import Outcome, Place, measure


def read(place: Place) -> Outcome:
    """Return the volume, as nibabel gives it."""
    with zipfile.ZipFile(place.study) as archive:
        archive.extractall(place.ram)
    command = [dcm2niix.bin, "-z", "n", "-b", "n", "-f", "volume", "-o", str(place.ram), str(place.ram)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    image = nibabel.Nifti1Image.from_filename(place.ram / "volume.nii", mmap=False)
    return Outcome(np.asanyarray(image.dataobj), image.affine)


if __name__ == "__main__":
    measure(read)
