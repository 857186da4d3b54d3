"""What may be odd about a study that is read nevertheless: the codes in `warnings` and in `quality` of a result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class NoticeCode(StrEnum):
    """Every code of a warning. The meaning of each stands in `NOTICES`."""

    # Intake: the files
    FILES_REJECTED = "files_rejected"
    NO_PREAMBLE = "no_preamble"
    DUPLICATE_INSTANCES = "duplicate_instances"
    MISSING_UIDS = "missing_uids"
    DICOMDIR_MISMATCH = "dicomdir_mismatch"

    # Intake: the geometry
    DUPLICATE_POSITIONS = "duplicate_positions"
    SLICES_INTERPOLATED = "slices_interpolated"
    NON_UNIFORM_SPACING = "non_uniform_spacing"
    POSITIONS_ROUNDED = "positions_rounded"
    THICK_SLICES = "thick_slices"
    TILT_CORRECTED = "tilt_corrected"
    OBLIQUE = "oblique"
    ORIENTATION_ASSUMED = "orientation_assumed"

    # Intake: the pixels
    SLICES_UNDECODABLE = "slices_undecodable"
    HU_CLIPPED = "hu_clipped"
    LOSSY_COMPRESSION = "lossy_compression"
    BURNED_IN_ANNOTATION = "burned_in_annotation"
    RESCALE_TYPE_NOT_HU = "rescale_type_not_hu"
    EIGHT_BIT_IMAGES = "eight_bit_images"
    LUNGS_CUT_OFF = "lungs_cut_off"
    LUNGS_SMALL_SHARE = "lungs_small_share"
    FOV_CUT_OFF = "fov_cut_off"
    CONTRAST_MEDIUM = "contrast_medium"
    EXPIRATION = "expiration"

    # Models
    LABELS_MISSING = "labels_missing"
    LUNGS_SHORT_IN_MASKS = "lungs_short_in_masks"
    ORGANS_MISSING = "organs_missing"
    SITE_FINDINGS_UNANSWERED = "site_findings_unanswered"
    RECONSTRUCTION_SHORTENED = "reconstruction_shortened"
    NOT_RECONSTRUCTED = "not_reconstructed"

    # Fusion
    NO_MODEL_ANSWERED = "no_model_answered"
    NO_FINDING_WITH_EVIDENCE = "no_finding_with_evidence"
    REPORT_NOT_MADE = "report_not_made"
    MODELS_PAUSED = "models_paused"


@dataclass(frozen=True)
class NoticeKind:
    """What a warning means for the reading, and what to do about it."""

    meaning: str
    advice: str


_NOTHING = "Nothing."

NOTICES: Mapping[NoticeCode, NoticeKind] = {
    NoticeCode.FILES_REJECTED: NoticeKind(
        "Some files would have been read, were they sound; the study was read without them. `files` counts them.",
        "Look at the list of files for their codes; send them again when slices are missing.",
    ),
    NoticeCode.NO_PREAMBLE: NoticeKind(
        "Files lack the preamble and the file meta group (PS3.10 7.1) and were read by what their first elements look "
        "like.",
        "Nothing for this study; ask the vendor of the sender for files after PS3.10.",
    ),
    NoticeCode.DUPLICATE_INSTANCES: NoticeKind(
        "The same SOPInstanceUID came more than once with equal pixels; the copies were dropped.",
        "Nothing. Export each image once to make the upload smaller.",
    ),
    NoticeCode.MISSING_UIDS: NoticeKind(
        "StudyInstanceUID or SeriesInstanceUID is empty, so the result cannot be matched to the PACS by it.",
        "Check the anonymiser: it should replace UIDs, not remove them.",
    ),
    NoticeCode.DICOMDIR_MISMATCH: NoticeKind(
        "A DICOMDIR lists files that did not come; the files that came were read.",
        "Copy the whole medium when slices are missing.",
    ),
    NoticeCode.DUPLICATE_POSITIONS: NoticeKind(
        "Slices share a position (two acquisitions, phases or energies in one series, or copies under other UIDs). "
        "They were parted by what `parted_by` names and the best part was read, or `dropped` of them were left out: "
        "copies, and what belongs to the acquisition with fewer slices.",
        "Check that the phase that was read is the one meant; send it alone if not.",
    ),
    NoticeCode.SLICES_INTERPOLATED: NoticeKind(
        "Single slices are missing and were interpolated between their neighbours; `positions_mm` says where.",
        "Send the whole series when a small finding matters there.",
    ),
    NoticeCode.NON_UNIFORM_SPACING: NoticeKind(
        "The steps between slices differ by more than 1 % and less than 10 %; the volume was resampled to the median "
        "step.",
        _NOTHING,
    ),
    NoticeCode.POSITIONS_ROUNDED: NoticeKind(
        "The positions of the slices are rounded to `rounded_to_mm`, so that even steps look uneven; they were read as "
        "even.",
        "Nothing for this study; ask the vendor of the sender for more decimals.",
    ),
    NoticeCode.THICK_SLICES: NoticeKind(
        "The slices are more than 5 mm apart: small findings may lie between them.",
        "Send a thinner reconstruction where there is one.",
    ),
    NoticeCode.TILT_CORRECTED: NoticeKind(
        "The gantry was tilted, by the positions of the slices (not by GantryDetectorTilt); the volume was sheared "
        "back.",
        _NOTHING,
    ),
    NoticeCode.OBLIQUE: NoticeKind(
        "The slices are turned against the axial plane, by `degrees`; the volume was read as it is.", _NOTHING
    ),
    NoticeCode.ORIENTATION_ASSUMED: NoticeKind(
        "The NIfTI file states no orientation (both form codes are 0); it was taken as nibabel takes it.",
        "Check right and left; write the file with a qform or sform code.",
    ),
    NoticeCode.SLICES_UNDECODABLE: NoticeKind(
        "Slices of the chosen series could not be decoded; their places were filled between neighbours where possible.",
        "Export the series again, uncompressed if it stays so.",
    ),
    NoticeCode.HU_CLIPPED: NoticeKind(
        "Values beyond 16 bits were cut to the range; `voxels` counts them. Metal does that, or a wrong rescale.",
        "Check RescaleSlope and RescaleIntercept when there are many.",
    ),
    NoticeCode.LOSSY_COMPRESSION: NoticeKind(
        "Images were compressed with loss (LossyImageCompression 01); `ratio` is the largest that the files state.",
        "Send the original images where the archive still has them.",
    ),
    NoticeCode.BURNED_IN_ANNOTATION: NoticeKind(
        "BurnedInAnnotation (0028,0301) says YES: there may be text in the pixels, perhaps of the patient.",
        "Treat previews as identified; send the original images.",
    ),
    NoticeCode.RESCALE_TYPE_NOT_HU: NoticeKind(
        "RescaleType (0028,1054) is not HU; the values were read as Hounsfield units all the same.",
        "Do not rely on the result if the images are no plain CT (spectral maps, normalised values).",
    ),
    NoticeCode.EIGHT_BIT_IMAGES: NoticeKind(
        "BitsAllocated is 8: contrast was lost before the images came here.", "Send the original images of 16 bits."
    ),
    NoticeCode.LUNGS_CUT_OFF: NoticeKind(
        "The lungs reach the first or last slice, so a part of them was not scanned or not sent.",
        "Send the whole chest if the scan has more.",
    ),
    NoticeCode.LUNGS_SMALL_SHARE: NoticeKind(
        "Whole lungs were found, but they take less than 35 % of the slices: a scan of much more than the chest.",
        "Send the chest alone where there is such a series; models that scale the whole volume see it better.",
    ),
    NoticeCode.FOV_CUT_OFF: NoticeKind(
        "The lungs come within 10 mm of the edge of the field of view, so that chest wall or lung is missing.",
        "Send the reconstruction with the larger field of view where there is one.",
    ),
    NoticeCode.CONTRAST_MEDIUM: NoticeKind(
        "ContrastBolusAgent (0018,0010) is filled: the scan is with contrast medium.", _NOTHING
    ),
    NoticeCode.EXPIRATION: NoticeKind(
        "The description names a scan in expiration: lungs look denser than the models have learnt.",
        "Send the series in inspiration where there is one.",
    ),
    NoticeCode.LABELS_MISSING: NoticeKind(
        "The installed weights of the stage do not speak of the labels in `missing`: to the fusion they are unknown, "
        "not absent. Those in `not_fused` are shown with their findings and were not weighed; those in `unknown` have "
        "no finding to be shown with.",
        "Nothing for this study; install weights with these labels where they matter.",
    ),
    NoticeCode.LUNGS_SHORT_IN_MASKS: NoticeKind(
        "The organ masks show no lungs, lungs in less than 35 % of the slices, or lungs shorter than 145 mm; `problem` "
        "says which, beside what was measured and what is needed. The study was read because the policy does not "
        "reject it for that.",
        "Look at the masks before the result is used; `lung_check` of the policy says whether such studies are read.",
    ),
    NoticeCode.ORGANS_MISSING: NoticeKind(
        "The masks show none of the `organs`, so that `findings`, which are looked for in them, are unknown to the "
        "fusion, not absent. The other organs were read.",
        "Look at the masks: the organ lies outside the scan, was removed, or was not recognised.",
    ),
    NoticeCode.SITE_FINDINGS_UNANSWERED: NoticeKind(
        "Findings of the site's own, named in `findings`, could not be asked for, for `reason`: `too_long`, "
        "`unknown_words` and `same_statements` are about their texts, `encoding_failed` is about the worker. All else "
        "is as usual.",
        "Change the statements in the policy (`ctclip policies check`), or read the worker's log.",
    ),
    NoticeCode.RECONSTRUCTION_SHORTENED: NoticeKind(
        "The budget of the policy allowed fewer steps or slices than it asked the anomaly diffusion for; the facts of "
        "the stage say how many were done.",
        "Raise `budget_tflop` in the policy where the hardware allows it.",
    ),
    NoticeCode.NOT_RECONSTRUCTED: NoticeKind(
        "The policy asked for a map of anomalies and there is none, for `reason`: `no_weights` (no noise predictor is "
        "installed), `over_budget` (not even one slice was affordable) or `not_finite` (the networks gave values that "
        "are no numbers). The scores of the slices are not affected.",
        "Install the weights of the noise predictor, or raise `budget_tflop` in the policy.",
    ),
    NoticeCode.NO_MODEL_ANSWERED: NoticeKind(
        "No model answered and the policy allowed it: the probability is only the base rate of the training.",
        "Do not use the probability; see `completeness` for the reasons.",
    ),
    NoticeCode.NO_FINDING_WITH_EVIDENCE: NoticeKind(
        "The study was judged pathological although no single finding both raised the score and reached the "
        "threshold from which it is evidence.",
        "Read the study without a hint of where to look.",
    ),
    NoticeCode.REPORT_NOT_MADE: NoticeKind(
        "The report for people (HTML, PDF) could not be made. The result is not affected.",
        "Read the log of the fusion's worker; the result itself is whole.",
    ),
    NoticeCode.MODELS_PAUSED: NoticeKind(
        "The operator had paused `models` when this study was read, so the result was made without them.",
        "Ask the operator why; send the study again once they run (`GET /v1/models` tells).",
    ),
}
