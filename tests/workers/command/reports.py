"""Intake reports made by hand."""

from __future__ import annotations

from dataclasses import replace

from shared.file_codes import FileCode, FileOutcome
from shared.problems import ProblemCode
from workers.intake.files import FileReport
from workers.intake.report import (
    CandidateReport,
    ChosenSeries,
    HuStatistics,
    IntakeReport,
    NoticeReport,
    ProblemReport,
    VoxelHu,
)

FACTS = {
    "slices": 240,
    "shape_zyx": [240, 512, 512],
    "spacing_zyx_mm": [1.25, 0.7, 0.7],
    "extent_mm": 300.0,
    "kernel": ["STANDARD"],
    "kernel_class": "standard",
    "slice_thickness_mm": 1.25,
    "manufacturer": "GE",
    "transfer_syntax": "JPEG-LS Lossless",
    "problem": None,
    "lung_volume_ml": 4321.0,
    "lung_length_mm": 251.2,
    "lung_share": 0.83,
    "reason": "best score, 0.900 of 2 candidates; ahead of the next in kernel",
}
CHOSEN = ChosenSeries(
    study_uid="1.2.3",
    series_uid="1.2.3.4",
    shape_zyx=(241, 512, 512),
    spacing_zyx_mm=(1.25, 0.7, 0.7),
    origin_lps_mm=(-172.0, -156.5, -20.5),
    row_direction=(1.0, 0.0, 0.0),
    column_direction=(0.0, 1.0, 0.0),
    facts=FACTS,
)
HU = HuStatistics(-3024, 3071, -982.25, 77, "ab" * 32, (VoxelHu((1, 2, 3), -705),))
ACCEPTED = IntakeReport(
    problem=None,
    files=(
        FileReport(0, "a.dcm", 1000, FileOutcome.USED),
        FileReport(1, "b[red].dcm", 1001, FileOutcome.USED),
        FileReport(2, "scout", 10, FileOutcome.IGNORED, FileCode.LOCALIZER, "ImageType says LOCALIZER"),
        FileReport(3, "broken", 10, FileOutcome.REJECTED, FileCode.PIXELS_TRUNCATED, "12 bytes of 524288"),
    ),
    candidates=(
        CandidateReport("1.2.3.4", True, 0.9, {"kernel": 1.0, "axial": 0.8}, FACTS, FACTS["reason"]),  # type: ignore[arg-type]  # test data
        CandidateReport(
            "1.2.3.5", False, 0.4, {"kernel": 0.1, "axial": 0.7}, {"slices": 30}, "score 0.400 against 0.900"
        ),
    ),
    notices=(NoticeReport("tilt_corrected", {"degrees": 12.5}), NoticeReport("of_tomorrow")),
    chosen=CHOSEN,
    hu=HU,
    seconds={"look": 0.1, "decode": 0.4},
    choice_policy="axial-chest-ct-1",
)
REJECTED = replace(
    ACCEPTED,
    problem=ProblemReport(ProblemCode.NO_LUNGS_FOUND, "12 ml of lung were found.", {"lung_volume_ml": 12.0}),
    notices=(),
)
EMPTY = IntakeReport(ProblemReport(ProblemCode.EMPTY_UPLOAD, "The file has no bytes."), (), (), (), None, None, {})
