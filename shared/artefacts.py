"""Kinds of artefacts: objects in storage that never change once written."""

from __future__ import annotations

from enum import StrEnum


class ArtefactKind(StrEnum):
    """What an object holds."""

    UPLOAD = "upload"
    VOLUME = "volume"
    MASKS = "masks"
    ANOMALY_MAP = "anomaly_map"
    PREVIEW = "preview"
    RUN_MANIFEST = "run_manifest"


class UploadKind(StrEnum):
    """How an upload is packed, judged by its first bytes."""

    ZIP = "zip"
    NIFTI = "nifti"
