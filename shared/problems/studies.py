"""Problems of the study, found by intake in its files."""

from __future__ import annotations

from collections.abc import Mapping

from shared.problems.codes import ProblemCode
from shared.problems.kinds import ProblemKind

KINDS: Mapping[ProblemCode, ProblemKind] = {
    ProblemCode.NO_DICOM_IMAGES: ProblemKind(
        "There are no DICOM images", 422, "Send the exported DICOM files, not reports or pictures of them."
    ),
    ProblemCode.WRONG_MODALITY: ProblemKind("There is no CT", 422, "Send a chest CT. `found` names what came."),
    ProblemCode.MIXED_STUDIES: ProblemKind(
        "The archive holds more than one study or patient",
        422,
        "Send one ZIP per study.",
    ),
    ProblemCode.PHANTOM_STUDY: ProblemKind(
        "All images show a phantom", 422, "These are images of quality control. Send a chest CT of a patient."
    ),
    ProblemCode.SERIES_NOT_FOUND: ProblemKind(
        "The series asked for is not in the study",
        422,
        "Leave `series_instance_uid` out, or name one that intake lists.",
    ),
    ProblemCode.NO_USABLE_SERIES: ProblemKind(
        "No series can be read as an axial chest CT", 422, "Intake lists every candidate and why it lost."
    ),
    ProblemCode.INSUFFICIENT_COVERAGE: ProblemKind(
        "The series is too short",
        422,
        "Send the whole chest. `found_mm` and `needed_mm` say how much is missing.",
    ),
    ProblemCode.NO_LUNGS_FOUND: ProblemKind("No lungs were found", 422, "Send a CT of the chest in Hounsfield units."),
    ProblemCode.MISSING_REQUIRED_TAGS: ProblemKind(
        "Required DICOM attributes are missing", 422, "Export again from the PACS without removing `tags`."
    ),
    ProblemCode.INVALID_GEOMETRY: ProblemKind(
        "The geometry makes no sense",
        422,
        "Spacing must be positive and direction cosines orthonormal. Export again.",
    ),
    ProblemCode.INVALID_RESCALE: ProblemKind(
        "RescaleSlope or RescaleIntercept makes no sense", 422, "Export again from the PACS."
    ),
    ProblemCode.SLICE_GAP: ProblemKind(
        "Slices are missing", 422, "Send the whole series. `positions_mm` says where the gaps are."
    ),
    ProblemCode.CONFLICTING_DUPLICATES: ProblemKind(
        "Two different images claim the same SOPInstanceUID",
        422,
        "Send the study as the PACS holds it, once.",
    ),
    ProblemCode.SERIES_INCOMPLETE: ProblemKind(
        "Unreadable files leave the series incomplete", 422, "Intake lists the files. Send them again."
    ),
    ProblemCode.TRANSFER_SYNTAX_UNSUPPORTED: ProblemKind(
        "The images are compressed in a way that cannot be read", 422, "Export uncompressed or as JPEG-LS."
    ),
    ProblemCode.UNDECODABLE: ProblemKind(
        "The study crashes the decoder", 422, "Export the study again; send it to support if it stays so."
    ),
    ProblemCode.NIFTI_UNREADABLE: ProblemKind(
        "The NIfTI file cannot be read",
        422,
        "Send one 3-D volume in Hounsfield units as `.nii` or `.nii.gz`.",
    ),
}
