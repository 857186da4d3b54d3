"""Where a NIfTI image lies in the patient, written so that every viewer lays it over the CT. We are LPS, it is RAS."""

from __future__ import annotations

import nibabel
import numpy as np
import numpy.typing as npt

from workers.volume.geometry import convert_lps_to_ras

MEDIA_TYPE = "application/gzip"
"""NIfTI has no registered media type; this is what its gzip is."""

_SCANNER_SPACE = 1
_MILLIMETRES = 2
_TOLERANCE = 1e-4
"""Most that a step of one voxel may differ between the two forms of the geometry, in millimetres."""


def lay_in_space(image: nibabel.Nifti1Image, to_lps: npt.NDArray[np.float64]) -> None:
    """Write the matrix from (x, y, z) voxel indices to LPS millimetres into the header, in both of NIfTI's forms.

    The quaternion cannot hold a turn of almost 180 degrees: its float32 leaves nothing of the small rest. Readers then
    find only the matrix (code 0 of the quaternion), which says the same to the last digit.
    """
    to_ras = convert_lps_to_ras(to_lps)
    header = image.header
    header["xyzt_units"] = _MILLIMETRES
    image.set_sform(to_ras, code=_SCANNER_SPACE)  # type: ignore[no-untyped-call]  # nibabel
    image.set_qform(to_ras, code=_SCANNER_SPACE)  # type: ignore[no-untyped-call]  # nibabel
    if not np.allclose(header.get_qform()[:3, :3], to_ras[:3, :3], rtol=0, atol=_TOLERANCE):  # type: ignore[no-untyped-call]  # nibabel
        header["qform_code"] = 0
