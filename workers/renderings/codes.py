"""SNOMED CT codes and colours of the labels of TotalSegmentator's task `total`.

Source: `totalsegmentator_snomed_mapping.csv`, which the package TotalSegmentator brings (Apache-2.0), and for what it
has wrong the concepts of pydicom (DICOM PS3.16). SNOMED CT codes are used under the agreement of DICOM with its owner.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

Colour = tuple[int, int, int]
"""Red, green and blue, 0..255."""

_PACKAGE = "TotalSegmentator"
_TABLE = "totalsegmentator/resources/totalsegmentator_snomed_mapping.csv"
_CATEGORY, _TYPE, _MODIFIER, _REGION = (
    "SegmentedPropertyCategoryCodeSequence",
    "SegmentedPropertyTypeCodeSequence",
    "SegmentedPropertyTypeModifierCodeSequence",
    "AnatomicRegionSequence",
)
_REGION_MODIFIER = "AnatomicRegionModifierSequence"

# The table has the right one for both sides; its modifier would then make "left" of it.
_CORRECTED: Mapping[str, Code] = {
    "subclavian_artery_left": codes.SCT.SubclavianArtery,
    "subclavian_artery_right": codes.SCT.SubclavianArtery,
}


@dataclass(frozen=True)
class OrganCode:
    """What a label is. `modifier` says the side, `region` where something lies that is no organ, with its own side."""

    category: Code
    type: Code
    modifier: Code | None
    region: Code | None
    region_modifier: Code | None
    colour: Colour


def get_organ_code(name: str) -> OrganCode:
    """Return the code of a label by its name. Raises KeyError when the table has none."""
    return _load_codes()[name]


@cache
def _load_codes() -> Mapping[str, OrganCode]:
    table = Path(str(distribution(_PACKAGE).locate_file(_TABLE)))
    with table.open(encoding="utf-8", newline="") as rows:
        return {row["Structure"]: _parse(row) for row in csv.DictReader(rows)}


def _parse(row: Mapping[str, str]) -> OrganCode:
    kind = _CORRECTED.get(row["Structure"]) or _parse_code(row, _TYPE)
    category = _parse_code(row, _CATEGORY)
    assert category is not None
    assert kind is not None
    red, green, blue = (int(part) for part in row["DicomRGBColor"].split(","))
    return OrganCode(
        category=category,
        type=kind,
        modifier=_parse_code(row, _MODIFIER),
        region=_parse_code(row, _REGION),
        region_modifier=_parse_code(row, _REGION_MODIFIER),
        colour=(red, green, blue),
    )


def _parse_code(row: Mapping[str, str], sequence: str) -> Code | None:
    scheme, value, meaning = (
        row[f"{sequence}.{part}"] for part in ("CodingSchemeDesignator", "CodeValue", "CodeMeaning")
    )
    return Code(value, scheme, meaning) if value else None
