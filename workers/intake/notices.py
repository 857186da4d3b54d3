"""Notices: what was odd about a study that is read nevertheless. The stage hands them on as warnings of the result."""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.json_values import JsonObject


@dataclass(frozen=True)
class Notice:
    """A named oddity with its facts; nothing of the patient."""

    code: str
    facts: JsonObject = field(default_factory=dict)
