"""Attributes that are missing or make no sense: rows B31 to B33."""

from __future__ import annotations

from functools import partial

from pydicom import Dataset
from pydicom.valuerep import DSfloat

from phantom.corpus.case import Case, accepted, rejected, whole
from phantom.corpus.chest import Chest
from phantom.corpus.files import Change, delete, edit, pack, put_text

REQUIRED = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "RescaleSlope",
    "RescaleIntercept",
    "Rows",
)
SPACINGS = {"zero": "0\\0", "negative": "-1\\1", "nan": "nan\\1", "huge": "1e308\\1", "infinite": "inf\\inf"}
ORIENTATIONS = {
    "not-unit": "2\\0\\0\\0\\1\\0",
    "not-orthogonal": "1\\0\\0\\1\\0\\0",
    "nan": "nan\\0\\0\\0\\1\\0",
    "zero": "0\\0\\0\\0\\0\\0",
}
SLOPES = {"zero": "0", "nan": "nan", "infinite": "inf", "minus-infinite": "-inf", "huge": "1e30", "text": "abc"}


def change_all(chest: Chest, change: Change) -> bytes:
    """Return the study with every file changed."""
    return pack(edit(chest.files, change))


def rescale_each(dataset: Dataset) -> None:
    """Give a slice an intercept of its own that its stored values make up for."""
    shift = int(dataset.InstanceNumber) % 7
    dataset.PixelData = (dataset.pixel_array + shift).astype("<i2").tobytes()
    dataset.RescaleIntercept = DSfloat(float(dataset.RescaleIntercept) - shift)


def _list_texts(row: str, keyword: str, texts: dict[str, str], code: str) -> list[Case]:
    return [
        Case(
            f"{row}-{keyword}-{kind}",
            f"{keyword} of {text}",
            partial(change_all, change=put_text(keyword, text)),
            rejected(code, files={code: 20}),
        )
        for kind, text in texts.items()
    ]


CASES: tuple[Case, ...] = (
    *(
        Case(
            f"B31-{keyword}",
            f"No {keyword} in any file",
            partial(change_all, change=delete(keyword)),
            rejected("missing_required_tags", files={"missing_required_tags": 20}),
        )
        for keyword in REQUIRED
    ),
    *_list_texts("B32", "PixelSpacing", SPACINGS, "invalid_geometry"),
    *_list_texts("B32", "ImageOrientationPatient", ORIENTATIONS, "invalid_geometry"),
    *_list_texts("B33", "RescaleSlope", SLOPES, "invalid_rescale"),
    Case(
        "B33-per-slice",
        "A rescale of its own in each slice",
        partial(change_all, change=rescale_each),
        accepted(study=whole),
    ),
)
