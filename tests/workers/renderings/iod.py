"""What the standard asks of a DICOM object, checked by the tables that highdicom was generated with (PS3.3).

`dicom-validator` would do the same with the conditions too; it reads the standard's own XML, which no package brings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

from pydicom.dataset import Dataset

Path = tuple[str, ...]

_GROUPS = {"SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"}


def find_faults(dataset: Dataset) -> list[str]:
    """Return what lacks of the mandatory modules (types 1 and 2), and what is in no module of the object."""
    iod = _load("sop_class_iod_map")[dataset.SOPClassUID]
    modules = _load("iod_module_map")[iod]
    return [
        *(fault for module in modules if module["usage"] == "M" for fault in _find_lacking(dataset, module["key"])),
        *_find_foreign(dataset, {module["key"] for module in modules}),
    ]


@cache
def _load(table: str) -> Any:  # noqa: ANN401  # JSON
    return json.loads((resources.files("highdicom") / "_standard" / f"{table}.json").read_text(encoding="utf-8"))


def _find_lacking(dataset: Dataset, module: str) -> Iterator[str]:
    for attribute in _load("module_attribute_map")[module]:
        if attribute["type"] not in {"1", "2"}:
            continue
        keyword, path = attribute["keyword"], tuple(attribute["path"])
        if len(path) == 1 and path[0] in _GROUPS:
            continue  # these are in either place, which highdicom sees to
        for item in _walk(dataset, path):
            if keyword not in item or (attribute["type"] == "1" and item[keyword].is_empty):
                yield f"{module}: {'.'.join((*attribute['path'], keyword))} is missing"


def _walk(dataset: Dataset, path: Path) -> Iterator[Dataset]:
    if not path:
        yield dataset
        return
    for item in dataset.get(path[0], ()):
        yield from _walk(item, path[1:])


def _find_foreign(dataset: Dataset, modules: set[str]) -> Iterator[str]:
    known: dict[Path, set[str]] = {}
    attributes: list[dict[str, Any]] = [each for module in modules for each in _load("module_attribute_map")[module]]
    for attribute in attributes:
        known.setdefault(tuple(attribute["path"]), set()).add(attribute["keyword"])
    yield from _compare(dataset, (), known)


def _compare(dataset: Dataset, path: Path, known: dict[Path, set[str]]) -> Iterator[str]:
    for element in dataset:
        if element.keyword not in known.get(path, set()):
            yield f"{'.'.join((*path, element.keyword))} is in no module"
        elif element.VR == "SQ":
            for item in element.value:
                yield from _compare(item, (*path, element.keyword), known)
