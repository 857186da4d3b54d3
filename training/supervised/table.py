"""The table of studies and labels: a CSV file with one study a line.

    path,patient,split,cancer,covid,pleural_effusion
    studies/0001.zip,P1,train,0,,1

A label is 1, 0, or empty where it is not known. `patient`, `split` (train, validation, test) and `weight` (of lines
whose labels are less sure, as those of another model are) may be absent.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from shared.errors import Defect

_LABEL_VALUES = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "": math.nan, "nan": math.nan}
_NAMES_SHOWN = 5


class Split(StrEnum):
    """What a study is for."""

    TRAINING = "training"
    VALIDATION = "validation"
    """Chooses the best epoch and the thresholds."""

    HELD_OUT = "held_out"
    """Only measured on."""


_SPLITS = {
    **dict.fromkeys(("train", "training"), Split.TRAINING),
    **dict.fromkeys(("val", "valid", "validation"), Split.VALIDATION),
    **dict.fromkeys(("test", "held_out", "held-out"), Split.HELD_OUT),
}

SHARES: Mapping[Split, float] = {Split.TRAINING: 0.7, Split.VALIDATION: 0.15, Split.HELD_OUT: 0.15}
"""How patients are shared out where the table does not say."""


@dataclass(frozen=True)
class Columns:
    """What the columns are called."""

    path: str = "path"
    patient: str = "patient"
    split: str = "split"
    weight: str = "weight"


@dataclass(frozen=True)
class Row:
    """One study: `line` in the file, `targets` in the order of the table's labels (1, 0, NaN where unknown).

    Studies with the same `group` (a patient, else the line) stay together in one split.
    """

    line: int
    study: Path
    targets: tuple[float, ...]
    weight: float
    group: str
    split: Split


@dataclass(frozen=True)
class Table:
    """All rows. `has_patients` and `has_splits` say what the file told."""

    labels: tuple[str, ...]
    rows: tuple[Row, ...]
    has_patients: bool
    has_splits: bool


def read_table(
    path: Path, wanted: Sequence[str], columns: Columns | None = None, *, root: Path | None = None, seed: int = 1
) -> Table:
    """Return the rows with those of the wanted labels that the file has. Raises Defect that names the line.

    Paths of studies are relative to `root`, by default the folder of the file. Where the file names no split, or no
    studies for validation, patients are shared out by a hash of their name and the seed, so that one who was added
    moves no other.
    """
    columns = columns or Columns()
    header, lines = _read_lines(path)
    labels = _choose_labels(header, wanted, columns)
    named = [_parse_row(line, number, labels, columns, root or path.parent) for number, line in lines]
    if not named:
        raise Defect("the table has no studies")
    rows = _assign_splits([row for row, _ in named], [split for _, split in named], seed)
    _refuse_shared_patients(rows)
    return Table(labels, tuple(rows), columns.patient in header, columns.split in header)


def _read_lines(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            lines = [(reader.line_num, line) for line in reader]
            header = [*(reader.fieldnames or ())]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Defect("the table of studies cannot be read as CSV in UTF-8") from error
    _refuse_ragged(header, lines)
    return header, lines


def _refuse_ragged(header: Sequence[str], lines: Sequence[tuple[int, Mapping[str | None, object]]]) -> None:
    """Raise Defect where values could be taken for those of another column."""
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise Defect(f"the table has the columns {twice} twice")
    for number, line in lines:
        if None in line or None in line.values():
            raise Defect(f"line {number} of the table has not as many fields as the header, which has {len(header)}")


def _choose_labels(header: Sequence[str], wanted: Sequence[str], columns: Columns) -> tuple[str, ...]:
    if columns.path not in header:
        hint = "; separate them by commas" if len(header) == 1 and {*header[0]} & {*";\t"} else ""
        raise Defect(
            f"the table has no column {columns.path!r} with the paths of the studies; it has {[*header][:20]}{hint}"
        )
    labels = tuple(label for label in wanted if label in header)
    if not labels:
        raise Defect(f"the table has no column of a label; known are {[*wanted]}")
    return labels


def _parse_row(
    line: Mapping[str, str | None], number: int, labels: Sequence[str], columns: Columns, root: Path
) -> tuple[Row, Split | None]:
    targets = tuple(_parse_label(line.get(label), label, number) for label in labels)
    study = (line.get(columns.path) or "").strip()
    if not study:
        raise Defect(f"line {number} of the table names no study")
    patient = (line.get(columns.patient) or "").strip()
    row = Row(
        line=number,
        study=root / study,
        targets=targets,
        weight=_parse_weight(line.get(columns.weight), number),
        group=f"patient {patient}" if patient else f"line {number}",
        split=Split.TRAINING,
    )
    return row, _parse_split(line.get(columns.split), number) if columns.split in line else None


def _parse_label(text: str | None, label: str, number: int) -> float:
    value = _LABEL_VALUES.get((text or "").strip().lower())
    if value is None:
        raise Defect(f"line {number} of the table: {label} must be 0, 1 or empty")
    return value


def _parse_weight(text: str | None, number: int) -> float:
    try:
        weight = float(text) if text and text.strip() else 1.0
    except ValueError:
        weight = math.nan
    if not 0 < weight <= 1:
        raise Defect(f"line {number} of the table: the weight must be above 0 and at most 1")
    return weight


def _parse_split(text: str | None, number: int) -> Split:
    split = _SPLITS.get((text or "").strip().lower())
    if split is None:
        raise Defect(f"line {number} of the table: the split must be one of {sorted(_SPLITS)}")
    return split


def _assign_splits(rows: Sequence[Row], told: Sequence[Split | None], seed: int) -> list[Row]:
    if None in told:
        return [replace(row, split=_draw_split(row.group, seed)) for row in rows]
    splits = [split or Split.TRAINING for split in told]
    if Split.VALIDATION in splits:
        return [replace(row, split=split) for row, split in zip(rows, splits, strict=True)]
    # Thresholds and the best epoch are chosen on patients that neither the fitting nor the report sees.
    return [
        replace(row, split=_take_validation(row.group, split, seed)) for row, split in zip(rows, splits, strict=True)
    ]


def _draw_split(group: str, seed: int) -> Split:
    place = _draw(group, seed)
    if place < SHARES[Split.TRAINING]:
        return Split.TRAINING
    return Split.VALIDATION if place < 1 - SHARES[Split.HELD_OUT] else Split.HELD_OUT


def _take_validation(group: str, split: Split, seed: int) -> Split:
    is_taken = split is Split.TRAINING and _draw(group, seed) < SHARES[Split.VALIDATION]
    return Split.VALIDATION if is_taken else split


def _draw(group: str, seed: int) -> float:
    """Return a number of [0, 1) that depends on nothing but the group and the seed."""
    digest = hashlib.sha256(f"{seed} {group}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


def _refuse_shared_patients(rows: Sequence[Row]) -> None:
    splits: dict[str, set[Split]] = defaultdict(set)
    lines: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        splits[row.group].add(row.split)
        lines[row.group].append(row.line)
    shared = [group for group, found in splits.items() if len(found) > 1]
    if shared:
        where = [lines[group] for group in shared[:_NAMES_SHOWN]]
        raise Defect(f"{len(shared)} patients are in more than one split, for one in the lines {where}")
