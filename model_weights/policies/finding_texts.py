"""Findings of a site's own, which a zero-shot model is asked for in the words of the policy."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from shared.errors import Defect
from shared.json_values import JsonObject, JsonValue

MOST_FINDINGS = 64
LONGEST_NAME = 80
LONGEST_TEXT = 240
"""In characters. A token has at least one, so that such a text stays far below the 512 tokens that CT-CLIP reads."""

_FIELDS = ("name", "present", "absent")


@dataclass(frozen=True)
class FindingText:
    """One finding. A statement that is None is made of the name by the template that comes with the model."""

    name: str
    present: str | None = None
    absent: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be asked. Raises Defect that says what to change."""
        _require_text("name", self.name, LONGEST_NAME, f"a finding text named {str(self.name)[:LONGEST_NAME]!r}")
        for field in ("present", "absent"):
            if getattr(self, field) is not None:
                _require_statement(field, getattr(self, field), f"finding text {self.name!r}")
        if None in (self.present, self.absent) and not self.name.isascii():
            raise Defect(f"finding text {self.name!r}: the model reads English; give `present` and `absent` in English")
        if self.present is not None and self.absent is not None and _fold(self.present) == _fold(self.absent):
            raise Defect(f"finding text {self.name!r}: `present` and `absent` say the same; let one deny the other")

    @classmethod
    def from_table(cls, table: object) -> Self:
        """Read one `[[finding_texts]]` of a policy, or its JSON form."""
        if not isinstance(table, Mapping) or "name" not in table:
            raise Defect("finding_texts: every entry needs a `name`; write it as [[finding_texts]]")
        unknown = sorted(set(table) - set(_FIELDS))
        if unknown:
            raise Defect(f"finding text {table['name']!r}: unknown {unknown}; known are {[*_FIELDS]}")
        return cls(**table)

    def to_document(self) -> dict[str, JsonValue]:
        """Return the JSON form: only what the policy says."""
        return {field: text for field, text in asdict(self).items() if text is not None}


def parse_finding_texts(tables: object) -> tuple[FindingText, ...]:
    """Return the finding texts of a policy. Raises Defect when one cannot be asked or two are one."""
    if not isinstance(tables, Sequence) or isinstance(tables, str):
        raise Defect("finding_texts: expected a list; write each as [[finding_texts]]")
    texts = tuple(FindingText.from_table(table) for table in tables)
    require_distinct(texts)
    return texts


def read_finding_texts(policy: JsonObject) -> tuple[FindingText, ...]:
    """Return the finding texts of a policy in its JSON form; most have none."""
    return parse_finding_texts(policy.get("finding_texts", ()))


def require_distinct(texts: Sequence[FindingText]) -> None:
    """Raise Defect when there are too many, or two ask for the same."""
    if len(texts) > MOST_FINDINGS:
        raise Defect(f"finding_texts: {len(texts)} are too many; at most {MOST_FINDINGS} can be asked for")
    _refuse_twice("named", [_fold(text.name) for text in texts])
    said = [(text.present, text.absent) for text in texts]
    _refuse_twice("stated", [(_fold(yes), _fold(no)) for yes, no in said if yes is not None and no is not None])


def _refuse_twice(how: str, values: Sequence[Any]) -> None:
    twice = sorted(str(value) for value, count in Counter(values).items() if count > 1)
    if twice:
        raise Defect(f"finding_texts: two are {how} alike: {twice}; keep one")


def _fold(text: str) -> str:
    """Return what is equal for texts that look alike; the model reads without case as well."""
    return unicodedata.normalize("NFKC", text).casefold()


def _require_statement(field: str, text: object, whose: str) -> None:
    _require_text(field, text, LONGEST_TEXT, whose)
    # Letters of other scripts are tokens too, one by one, and the answer would be noise.
    if not str(text).isascii():
        raise Defect(f"{whose}: the model reads English; write `{field}` in English, without special characters")


def _require_text(field: str, text: object, longest: int, whose: str) -> None:
    if not isinstance(text, str):
        raise Defect(f"{whose}: `{field}` is no text")
    if not text.isprintable() or text != " ".join(text.split()) or not text:
        raise Defect(f"{whose}: `{field}` must be one line without spaces around it or several in a row, and not empty")
    if not any(character.isalnum() for character in text):
        raise Defect(f"{whose}: `{field}` holds no word")
    if len(text) > longest:
        raise Defect(f"{whose}: `{field}` has {len(text)} characters; at most {longest} are taken")
