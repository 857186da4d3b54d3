"""Kinds of artefacts: objects in storage that never change once written."""

from __future__ import annotations

from enum import StrEnum


class ArtefactKind(StrEnum):
    """What an object holds."""

    UPLOAD = "upload"
    SOURCE_SERIES = "source_series"
    VOLUME = "volume"
    MASKS = "masks"
    MASKS_NIFTI = "masks_nifti"
    MASKS_DICOM = "masks_dicom"
    MASKS_PREVIEW = "masks_preview"
    ANOMALY_MAP = "anomaly_map"
    ANOMALY_MAP_NIFTI = "anomaly_map_nifti"
    ANOMALY_MAP_DICOM = "anomaly_map_dicom"
    ANOMALY_MAP_PREVIEW = "anomaly_map_preview"
    PREVIEW = "preview"
    RUN_MANIFEST = "run_manifest"
    CT_CLIP_RELEVANCE = "ct_clip_relevance"
    SUPERVISED_RELEVANCE = "supervised_relevance"
    REPORT_HTML_EN = "report_html_en"
    REPORT_HTML_RU = "report_html_ru"
    REPORT_PDF_EN = "report_pdf_en"
    REPORT_PDF_RU = "report_pdf_ru"

    @property
    def names_images(self) -> bool:
        """Whether it holds the UIDs of the images that it was made of (docs/adr/0013-dicom-outputs.md)."""
        return self in _NAMING_IMAGES

    @property
    def file_name(self) -> str:
        """What a downloaded copy is called; its ending tells programs what it is."""
        return f"{self}{_ENDINGS.get(self, '')}"


_NAMING_IMAGES = {ArtefactKind.SOURCE_SERIES, ArtefactKind.MASKS_DICOM, ArtefactKind.ANOMALY_MAP_DICOM}

_ENDINGS = {
    ArtefactKind.PREVIEW: ".png",
    ArtefactKind.SOURCE_SERIES: ".json",
    ArtefactKind.RUN_MANIFEST: ".json",
    ArtefactKind.MASKS: ".b2nd",
    ArtefactKind.MASKS_NIFTI: ".nii.gz",
    ArtefactKind.MASKS_DICOM: ".dcm",
    ArtefactKind.MASKS_PREVIEW: ".png",
    ArtefactKind.ANOMALY_MAP_NIFTI: ".nii.gz",
    ArtefactKind.ANOMALY_MAP_DICOM: ".dcm",
    ArtefactKind.ANOMALY_MAP_PREVIEW: ".png",
    ArtefactKind.CT_CLIP_RELEVANCE: ".nii.gz",
    ArtefactKind.SUPERVISED_RELEVANCE: ".nii.gz",
    ArtefactKind.REPORT_HTML_EN: ".html",
    ArtefactKind.REPORT_HTML_RU: ".html",
    ArtefactKind.REPORT_PDF_EN: ".pdf",
    ArtefactKind.REPORT_PDF_RU: ".pdf",
}


class UploadKind(StrEnum):
    """How an upload is packed, judged by its first bytes."""

    ZIP = "zip"
    NIFTI = "nifti"
