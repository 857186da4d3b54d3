"""One made-up result with everything that a report may show, and artefacts for it to be drawn from."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from shared.artefacts import ArtefactKind
from shared.stages import MODELS
from workers.renderings.montage import render_montage
from workers.renderings.outlines import render_outlines
from workers.runtime.stage import ArtefactRecord
from workers.volume import Geometry, Volume, write_volume

JOB = "6f4f5c7e-0d5a-4a44-9d3a-0e6f0c1f2a3b"
GEOMETRY = Geometry((5.0, 4.0, 4.0), (-128.0, -128.0, -200.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


def _make_finding(rank: int, names: tuple[str, str, str], organ: str, **told: object) -> dict[str, Any]:
    finding, english, russian = names
    spoken = {
        "thresholds": dict.fromkeys(cast("dict[str, float]", told["models"]), 0.5),
        "relevance": {},
        "codes": [],
        "above_threshold": True,
    }
    return {"finding": finding, "name": english, "name_ru": russian, "organ": organ, "rank": rank, **spoken, **told}


def _make_place(peak: Sequence[float]) -> dict[str, Any]:
    low, high = [value - 25 for value in peak], [value + 25 for value in peak]
    return {
        "peak_lps_mm": list(peak),
        "peak_log_odds": 0.9,
        "share": 0.38,
        "box_lps_mm": {"low": low, "high": high},
        "slices": {"first": 15, "last": 25, "positions_mm": [-125.0, -75.0]},
    }


def _make_relevance(peak: Sequence[float], volume: int) -> dict[str, Any]:
    log_odds = {"of_map": 1.5, "of_reference": -0.5}
    told = {"artifact": "ct_clip_relevance", "reference": "healthy", "volume": volume, "log_odds": log_odds}
    return {"ct_clip": {**told, "place": _make_place(peak)}}


_FINDINGS = [
    _make_finding(
        1,
        ("pleural_effusion", "Pleural effusion", "Плевральный выпот"),
        "pleura",
        models={"ct_clip": 0.912, "supervised": 0.874, "fvlm": 0.66, "mednext": 0.71},
        attribution=1.42,
        relevance=_make_relevance((60.0, 70.0, -100.0), 0),
    ),
    _make_finding(
        2,
        ("atelectasis", "Atelectasis", "Ателектаз"),
        "lung",
        models={"ct_clip": 0.61, "supervised": 0.42},
        attribution=0.31,
        relevance=_make_relevance((-60.0, 40.0, -60.0), 1),
    ),
    _make_finding(
        3,
        ("coronary_artery_calcification", "Coronary artery calcification", "Кальциноз коронарных артерий"),
        "heart",
        models={"ct_clip": 0.22, "supervised": 0.31},
        attribution=-0.12,
        above_threshold=False,
    ),
    _make_finding(
        4,
        ("thymoma", "Thymoma", "Тимома"),
        "mediastinum",
        models={"ct_clip": 0.01},
        attribution=0.0,
        above_threshold=False,
    ),
]

_ANOMALY = {
    "slices": {
        "first_centre_lps_mm": [0.0, 0.0, -200.0],
        "step_lps_mm": [0.0, 0.0, 5.0],
        "probabilities": [round(0.1 + 0.6 * np.exp(-(((index - 20) / 5) ** 2)), 4) for index in range(40)],
        "highest": [{"probability": 0.7, "centre_lps_mm": [0.0, 0.0, -100.0]}],
    },
    "reconstruction": {
        "state": "done",
        "artifact": "anomaly_map",
        "regions": [
            {
                "centre_lps_mm": [60.0, 70.0, -100.0],
                "extent_lps_mm": [40.0, 30.0, 10.0],
                "box_lps_mm": {"low": [40.0, 55.0, -105.0], "high": [80.0, 85.0, -95.0]},
                "slices": [20, 21],
                "area_mm2": 900.0,
                "mean_hu": 210.0,
                "largest_hu": 390.0,
                "score": 0.5,
            }
        ],
    },
}

_ORGANS = {
    "present": {},
    "segmenter": {},
    "lungs": {"lung_length_mm": 180.0, "needed_mm": 145.0, "lung_share": 0.9, "needed_share": 0.35},
    "truncated": ["liver"],
    "absent": [],
    "weights": {},
}

RESULT: dict[str, Any] = {
    "study_uid": "1.2.826.0.1.3680043.8.498.12345678901234567890123456789012345",
    "series_uid": "1.2.826.0.1.3680043.8.498.98765432109876543210987654321098765",
    "probability_of_pathology": 0.8341,
    "pathology": 1,
    "most_dangerous_pathology_type": "Pleural effusion",
    "processing_status": "Success",
    "time_of_processing": 31.4,
    "schema_version": "1.0",
    "job_id": JOB,
    "state": "completed_partial",
    "completeness": {
        "answered": 4,
        "expected": 5,
        "missing": [{"model": "mednext", "reason": "memory_insufficient"}],
    },
    "threshold": 0.59,
    "policy_id": "default@2:0123456789ab",
    "weights_profile": "demo",
    "disclaimer": "Demonstration weights.",
    "top_pathologies": ["Pleural effusion", "Atelectasis"],
    "findings": _FINDINGS,
    "site_findings": [{"name": "Coronary stent", "probability": 0.12, "present": "A stent.", "absent": "No stent."}],
    "anomaly": _ANOMALY,
    "organs": _ORGANS,
    "attribution": {
        "base_value": 0.04,
        "by_model": {"ct_clip": 1.05, "supervised": 0.62, "diffusion": 0.11, "fvlm": -0.09, "mednext": -0.12},
        "by_group": dict.fromkeys(
            (
                "lung_parenchyma",
                "airways",
                "vascular",
                "pleural",
                "mediastinum",
                "cardiac",
                "chest_wall",
                "bone_spine",
                "postop",
                "incidentalomas",
                "whole_chest",
                "anomaly",
                "missing",
            ),
            0.0,
        ),
        "beyond_findings": 0.0,
        "raw_score": 1.61,
        "calibration": {"slope": 0.9, "intercept": 0.17},
    },
    "without_model": {
        "ct_clip": {"probability_of_pathology": 0.5712, "pathology": 0, "is_allowed": True},
        "supervised": {"probability_of_pathology": 0.7604, "pathology": 1, "is_allowed": True},
        "diffusion": {"probability_of_pathology": 0.8122, "pathology": 1, "is_allowed": True},
        "fvlm": {"probability_of_pathology": 0.8433, "pathology": 1, "is_allowed": False},
    },
    "series": {
        "series_instance_uid": "1.2.826.0.1.3680043.8.498.98765432109876543210987654321098765",
        "slices": 40,
        "spacing_zyx_mm": [5.0, 4.0, 4.0],
        "kernel": ["B70f", "3"],
        "reason": "lung kernel, most slices",
    },
    "quality": [
        {"code": "lungs_cut_off", "stage": "intake", "facts": {}},
        {"code": "thick_slices", "stage": "intake", "facts": {"step_mm": 6.0}},
    ],
    "models": [
        {
            "name": str(model),
            "weights": f"{model}-demo",
            "version": "1.0",
            "digest": "0123456789abcdef" * 4,
            "seconds": 3.2,
        }
        for model in (*MODELS[:-1], "fusion")
    ],
    "timings": {"fusion": {"total_s": 0.1}},
    "artifacts": [],
}


def make_result(**changes: object) -> dict[str, Any]:
    """Return a result of its own, with fields changed."""
    return copy.deepcopy(RESULT) | changes


def find_slice(point_lps_mm: Sequence[float]) -> int:
    """Return the slice of the volume that a point lies in."""
    return round((point_lps_mm[2] - GEOMETRY.origin_lps_mm[2]) / GEOMETRY.spacing_zyx_mm[0])


def make_volume() -> Volume:
    """Return a coarse chest: a body with two lungs, and fluid at the back of the left one."""
    z, y, x = np.mgrid[-1:1:40j, -1:1:64j, -1:1:64j]
    hu = np.full(z.shape, -1000, np.int16)
    hu[(x / 0.9) ** 2 + (y / 0.7) ** 2 < 1] = 40
    for side in (-1, 1):
        hu[((x - 0.42 * side) / 0.3) ** 2 + (y / 0.5) ** 2 + (z / 0.9) ** 2 < 1] = -850
    hu[(x > 0.3) & (x < 0.6) & (y > 0.25) & (hu == -850)] = 15
    return Volume(hu, GEOMETRY)


def write_artefacts(folder: Path) -> list[ArtefactRecord]:
    """Write what the stages of a job would have left, by their kinds, and return how it is recorded."""
    volume = make_volume()
    write_volume(volume, folder / ArtefactKind.VOLUME)
    labels = np.where(volume.hu == -850, 10, 0).astype(np.uint8)
    outlines = render_outlines(volume, labels, {10: "lung_upper_lobe_left"}, "Organs by a test.")
    (folder / ArtefactKind.MASKS_PREVIEW).write_bytes(outlines)
    map_hu = np.full(volume.hu.shape, np.nan, np.float16)
    map_hu[18:24] = np.where(volume.hu[18:24] == 15, 300, 5)
    regions = _ANOMALY["reconstruction"]["regions"]  # type: ignore[index]  # a literal of many kinds
    (folder / ArtefactKind.ANOMALY_MAP_PREVIEW).write_bytes(render_montage(volume, map_hu, regions, "By a test."))
    kinds = (ArtefactKind.VOLUME, ArtefactKind.MASKS_PREVIEW, ArtefactKind.ANOMALY_MAP_PREVIEW)
    return [ArtefactRecord(kind, "", 0, "0" * 64) for kind in kinds]


@dataclass
class ReportContext:
    """A stage context with artefacts in a folder; nothing else is asked of it."""

    artefacts: Path
    scratch: Path
    records: Sequence[ArtefactRecord]
    job_id: str = JOB

    def fetch_artefact(self, kind: ArtefactKind) -> Path:
        return self.artefacts / kind

    def fetch_artefact_records(self) -> Sequence[ArtefactRecord]:
        return self.records
