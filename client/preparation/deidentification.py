"""De-identification after DICOM PS3.15, Basic Application Level Confidentiality Profile, for CT images.

What is done to which attribute is Table E.1-1 of edition 2026c as dicom-anonymizer holds it. That package itself acts
on the top level only and draws new UIDs at random, so the walk is ours: into every sequence, UIDs made by a secret key.
"""

from __future__ import annotations

import hashlib
import hmac
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import pydicom
from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as table
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

METHOD = "DICOM PS3.15 2026c Basic Profile, ctclip prepare"

_DUMMIES: Mapping[str, str] = {
    "DA": "19000101",
    "TM": "000000",
    "DT": "19000101000000",
    "AS": "000Y",
    "DS": "0",
    "IS": "0",
    "UR": "http://removed.invalid",
}
_DUMMY_TEXT = "REMOVED"
_TEXTS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_PATIENT_ID = Tag("PatientID")
_PSEUDONYM_LENGTH = 16
_REGISTERED = "1.2.840.10008."


class Action(StrEnum):
    """What becomes of an attribute: the letters of the table, and a UID that is renamed unless DICOM registered it."""

    REMOVE = "X"
    EMPTY = "Z"
    REPLACE = "D"
    RENAME = "U"
    RENAME_OWN = "U*"
    GO_ON = "K"


# Of two letters the one that holds for every kind of CT object: what is of type 1 in one of them gets a dummy.
_GROUPS: Mapping[str, Action] = {
    "X_TAGS": Action.REMOVE,
    "Z_TAGS": Action.EMPTY,
    "X_Z_TAGS": Action.EMPTY,
    "D_TAGS": Action.REPLACE,
    "Z_D_TAGS": Action.REPLACE,
    "X_D_TAGS": Action.REPLACE,
    "X_Z_D_TAGS": Action.REPLACE,
    "U_TAGS": Action.RENAME,
    "X_Z_U_STAR_TAGS": Action.GO_ON,
}
_ACTIONS = {Tag(*tag): action for name, action in _GROUPS.items() for tag in getattr(table, name) if len(tag) == 2}
# The table is silent on some names, times, comments and UIDs that link an image with its source (0020,0242; 0008,1167),
# on the birth date in another calendar (0010,0033), on addresses in archives (0008,1190; 0040,E010), and on numbers of
# orders. None of them is needed to read an image.
_OF_THE_PATIENT = frozenset({0x0010, 0x0032, 0x0038, 0x4008})  # patient, request, visit, interpretation
_ORDER_NUMBERS = frozenset(Tag(0x0040, element) for element in (0x1006, 0x1007, 0x1060, 0x2006, 0x2007))
_UNLISTED: Mapping[str, Action] = {
    **dict.fromkeys(("PN", "DA", "TM", "DT", "LT", "ST", "UR", "UT"), Action.REMOVE),
    "UI": Action.RENAME_OWN,
}
_MASKED = [(tag, action) for name, action in _GROUPS.items() for tag in getattr(table, name) if len(tag) == 4]


@dataclass(frozen=True)
class Pseudonyms:
    """Makes the same new value of the same old one, for whoever has the key, and for nobody else."""

    key: bytes

    def rename_uid(self, uid: str) -> str:
        """Return another UID (2.25, as PS3.5 B.2 has it)."""
        return f"2.25.{int.from_bytes(self._digest('uid', uid)[:16])}"

    def rename_patient(self, patient_id: str) -> str:
        """Return another patient id."""
        return self._digest("patient", patient_id).hex()[:_PSEUDONYM_LENGTH].upper()

    def _digest(self, kind: str, value: str) -> bytes:
        return hmac.digest(self.key, f"{kind}:{value}".encode(), hashlib.sha256)


def deidentify(content: bytes, pseudonyms: Pseudonyms) -> bytes:
    """Return a DICOM file without what tells the patient; pixels, geometry and technique are as they were.

    What is burned into pixels stays: such images must not come here.
    """
    dataset = pydicom.dcmread(io.BytesIO(content))
    _clean(dataset, pseudonyms)
    _clean_meta(dataset, pseudonyms)
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = METHOD
    dataset.DeidentificationMethodCodeSequence = [_make_code()]
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
    written = io.BytesIO()
    dataset.preamble = bytes(128)
    dataset.save_as(written, enforce_file_format=True)
    return written.getvalue()


def _clean(dataset: Dataset, pseudonyms: Pseudonyms) -> None:
    for tag in list(dataset.keys()):
        action = choose_action(tag)
        if action is Action.REMOVE or _find_vr(dataset, tag) == "UN":
            del dataset[tag]
        elif action is not Action.GO_ON:
            _APPLY[action](dataset, tag, pseudonyms)
        elif _find_vr(dataset, tag) == "SQ":
            for item in dataset[tag].value:
                _clean(item, pseudonyms)


@cache
def choose_action(tag: BaseTag) -> Action:
    """Return what becomes of an attribute. Private ones and those that DICOM does not know go, whatever they are."""
    if tag.is_private or not dictionary_has_tag(tag):
        return Action.REMOVE
    for (group, element, group_mask, element_mask), action in _MASKED:
        if tag.group & group_mask == group and tag.element & element_mask == element:
            return action
    return _ACTIONS.get(tag) or _judge_unlisted(tag)


def _judge_unlisted(tag: BaseTag) -> Action:
    if tag.group in _OF_THE_PATIENT or tag in _ORDER_NUMBERS:
        return Action.REMOVE
    return _UNLISTED.get(dictionary_VR(tag), Action.GO_ON)


def _find_vr(dataset: Dataset, tag: BaseTag) -> str:
    """Return the value representation without reading the value, which may be large."""
    stated = dataset.get_item(tag).VR
    if stated in {None, "UN"} and dictionary_has_tag(tag):
        return dictionary_VR(tag)
    return str(stated or "UN")


def _empty(dataset: Dataset, tag: BaseTag, _: Pseudonyms) -> None:
    dataset[tag].value = [] if _find_vr(dataset, tag) == "SQ" else None


def _replace(dataset: Dataset, tag: BaseTag, pseudonyms: Pseudonyms) -> None:
    vr = _find_vr(dataset, tag)
    if tag == _PATIENT_ID:
        dataset[tag].value = pseudonyms.rename_patient(str(dataset[tag].value))
    elif vr in _TEXTS:
        dataset[tag].value = _DUMMY_TEXT
    elif vr in _DUMMIES:
        dataset[tag].value = _DUMMIES[vr]
    elif vr == "UI":
        _rename(dataset, tag, pseudonyms)
    else:
        del dataset[tag]


def _rename(dataset: Dataset, tag: BaseTag, pseudonyms: Pseudonyms) -> None:
    element = dataset[tag]
    values = [element.value] if element.VM <= 1 else list(element.value)
    renamed = [pseudonyms.rename_uid(str(value)) for value in values if value]
    element.value = renamed[0] if len(renamed) == 1 else renamed


def _rename_own(dataset: Dataset, tag: BaseTag, pseudonyms: Pseudonyms) -> None:
    """Rename what names one object; a class or a coding scheme of DICOM is the same for every patient."""
    value = dataset[tag].value
    values = [value] if isinstance(value, str) else value or []
    if not all(str(one).startswith(_REGISTERED) for one in values):
        _rename(dataset, tag, pseudonyms)


_APPLY: Mapping[Action, Callable[[Dataset, BaseTag, Pseudonyms], None]] = {
    Action.EMPTY: _empty,
    Action.REPLACE: _replace,
    Action.RENAME: _rename,
    Action.RENAME_OWN: _rename_own,
}


def _clean_meta(dataset: Dataset, pseudonyms: Pseudonyms) -> None:
    """Keep of the file's head only what reading needs."""
    meta = dataset.file_meta
    for tag in list(meta.keys()):
        if Tag(tag).element > 0x0013:  # titles of applications, and private information
            del meta[tag]
    meta.MediaStorageSOPInstanceUID = UID(pseudonyms.rename_uid(str(meta.MediaStorageSOPInstanceUID)))


def _make_code() -> Dataset:
    code = codes.DCM.BasicApplicationConfidentialityProfile
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item
