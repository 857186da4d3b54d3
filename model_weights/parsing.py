"""Reading one table of a catalogue, field by field, with errors that name the entry and the field."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any, Never, TypeVar

from shared.errors import Defect

_Member = TypeVar("_Member", bound=StrEnum)
_SHA256 = re.compile(r"[0-9a-f]{64}")


class EntryReader:
    """One table of the catalogue; `number` counts from 1, for tables that have no name."""

    def __init__(self, table: object, number: int, owner: str = "") -> None:
        self._table: Mapping[str, Any] = table if isinstance(table, dict) else {}
        self._place = f"{owner}entry {number}"
        if not isinstance(table, dict):
            self._refuse("", "is not a table")
        if not owner:
            self.name = self.read_string("name")
            self._place = f"entry {self.name!r}"

    def read_string(self, field: str) -> str:
        """Return a string that is not empty."""
        value = self._table.get(field)
        if not isinstance(value, str) or not value.strip():
            self._refuse(field, "must be a string that is not empty")
        return value

    def read_optional_string(self, field: str) -> str | None:
        """Return a string, or None when the field is absent."""
        return self.read_string(field) if field in self._table else None

    def read_member(self, field: str, kind: type[_Member]) -> _Member:
        """Return a member of an enumeration."""
        text = self.read_string(field)
        if text not in list(kind):
            self._refuse(field, f"is {text!r}, expected one of {[str(member) for member in kind]}")
        return kind(text)

    def read_count(self, field: str) -> int:
        """Return a positive whole number."""
        value = self._table.get(field)
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            self._refuse(field, "must be a positive whole number")
        return value

    def read_sha256(self, field: str) -> str:
        """Return a SHA-256 in lower-case hexadecimal digits."""
        text = self.read_string(field)
        if not _SHA256.fullmatch(text):
            self._refuse(field, "must be 64 lower-case hexadecimal digits")
        return text

    def read_relative_path(self, field: str) -> PurePosixPath:
        """Return a path that stays inside the folder of the catalogue."""
        path = PurePosixPath(self.read_string(field))
        if path.is_absolute() or ".." in path.parts:
            self._refuse(field, "must stay inside the folder of the catalogue")
        return path

    def read_strings(self, field: str) -> tuple[str, ...]:
        """Return a list of different strings."""
        values = self._table.get(field)
        if not isinstance(values, list) or not all(isinstance(value, str) and value for value in values):
            self._refuse(field, "must be a list of strings")
        if len(set(values)) != len(values):
            self._refuse(field, "names something twice")
        return tuple(values)

    def read_table(self, field: str) -> Mapping[str, Any]:
        """Return a table; its meaning is checked by whoever builds the model from it."""
        value = self._table.get(field)
        if not isinstance(value, dict):
            self._refuse(field, "must be a table")
        return value

    def read_fractions(self, field: str, *, names: tuple[str, ...]) -> Mapping[str, float]:
        """Return numbers between 0 and 1 for some of the names."""
        table = self.read_table(field)
        for name, value in table.items():
            if name not in names:
                self._refuse(field, f"speaks of {name!r}, which is not a label")
            if not isinstance(value, int | float) or not 0 <= value <= 1:
                self._refuse(field, f"of {name!r} must be between 0 and 1")
        return {name: float(value) for name, value in table.items()}

    def read_tables(self, field: str) -> list[EntryReader]:
        """Return readers of a list of tables that is not empty."""
        values = self._table.get(field)
        if not isinstance(values, list) or not values:
            self._refuse(field, "must be a list of tables that is not empty")
        owner = f"{self._place}, {field}, "
        return [EntryReader(value, number, owner) for number, value in enumerate(values, 1)]

    def _refuse(self, field: str, reason: str) -> Never:
        raise Defect(f"catalogue of model weights, {self._place}: {field} {reason}".replace(":  ", ": "))
