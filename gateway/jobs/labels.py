"""Labels: words of the caller on a job, by which it finds its jobs again. Pure.

In a form or a query they are written `site=north,batch=7`, or as a JSON object; in a JSON body they are an object.
"""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import AfterValidator, Field

from gateway.problems.handlers import InvalidFields
from shared.problems import FieldError

MOST_LABELS = 20
LONGEST_NAME = 63
LONGEST_VALUE = 200
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


def _refuse_unprintable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("Expected printable characters")
    return value


LabelName = Annotated[str, Field(pattern=NAME_PATTERN, max_length=LONGEST_NAME)]
LabelValue = Annotated[str, Field(max_length=LONGEST_VALUE), AfterValidator(_refuse_unprintable)]


def parse_labels(value: str) -> object:
    """Return labels that were written in a text as what they stand for. Raises ValueError."""
    if value.lstrip().startswith("{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError) as error:
            raise ValueError("Expected name=value pairs with commas between them, or a JSON object") from error
    pairs = [_split(pair) for pair in value.split(",")] if value else []
    if len(labels := dict(pairs)) < len(pairs):
        raise ValueError("A label is named twice")
    return labels


def parse_label_filter(texts: list[str]) -> dict[str, str]:
    """Return which labels jobs must have, from `name=value` each. Raises InvalidFields."""
    found: dict[str, str] = {}
    for number, text in enumerate(texts):
        name, has_value, value = text.partition("=")
        if not has_value or not value.isprintable() or not name.isprintable():
            raise InvalidFields(FieldError(f"/label/{number}", "Expected name=value"))
        if found.setdefault(name, value) != value:
            raise InvalidFields(FieldError(f"/label/{number}", "No job has two values of one label"))
    return found


def _split(pair: str) -> tuple[str, str]:
    name, has_value, value = pair.partition("=")
    if not has_value:
        raise ValueError("Expected name=value pairs with commas between them, or a JSON object")
    return name.strip(), value.strip()
