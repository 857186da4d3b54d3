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
    CT_CLIP_RELEVANCE = "ct_clip_relevance"
    SUPERVISED_RELEVANCE = "supervised_relevance"

    @property
    def file_name(self) -> str:
        """What a downloaded copy is called; its ending tells programs what it is."""
        return f"{self}{_ENDINGS.get(self, '')}"


_ENDINGS = {
    ArtefactKind.PREVIEW: ".png",
    ArtefactKind.CT_CLIP_RELEVANCE: ".nii.gz",
    ArtefactKind.SUPERVISED_RELEVANCE: ".nii.gz",
}


class UploadKind(StrEnum):
    """How an upload is packed, judged by its first bytes."""

    ZIP = "zip"
    NIFTI = "nifti"
