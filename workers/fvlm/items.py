"""What fVLM is asked: one finding of one organ, as two sentences of which one fits better. Light: no torch.

A file of items is JSON, and goes with the weights as the catalogue's role `items`:

    {"items": [{"finding": "Emphysema", "organ": "lung", "negative": "Not Emphysema.", "positive": "Emphysema."}, ...]}

The labels of an entry are its findings in this order. Sentences are a part of the model: other words, other answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from model_weights.catalogue import ModelEntry
from model_weights.verifying import read_description
from shared.errors import Defect
from workers.fvlm.organs import ORGANS, Organ

ROLE = "items"
ITEMS_FILE = Path(__file__).parent / "items.json"
"""The 15 of the public evaluation that concern lung, heart and aorta, and the product's three, in their order."""

_FIELDS = ("finding", "organ", "negative", "positive")


@dataclass(frozen=True)
class Item:
    """One finding, and what is weighed against each other: that the organ has it not, and that it has."""

    finding: str
    organ: Organ
    negative: str
    positive: str

    def __post_init__(self) -> None:
        """Refuse what cannot be told apart. Raises Defect."""
        if self.negative == self.positive:
            raise Defect(f"items of fVLM: {self.positive!r} says both that there is {self.finding} and that not")

    @classmethod
    def from_document(cls, document: object) -> Self:
        """Read one item of the JSON form. Raises Defect that says what is wrong."""
        if not isinstance(document, Mapping) or set(document) != set(_FIELDS):
            raise Defect(f"items of fVLM: expected exactly {', '.join(_FIELDS)}")
        finding, organ, negative, positive = (document[field] for field in _FIELDS)
        if not all(isinstance(text, str) and text.strip() for text in (finding, negative, positive)):
            raise Defect("items of fVLM: finding, negative and positive must be texts")
        if organ not in ORGANS:
            raise Defect(f"items of fVLM: the organ of {finding} is {organ!r}, expected one of {[*map(str, ORGANS)]}")
        return cls(finding, Organ(organ), negative, positive)


def read_items(path: Path) -> tuple[Item, ...]:
    """Read a file of items. Raises Defect that says what is wrong."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Defect(f"the items {path.name} cannot be read as JSON: {type(error).__name__}") from error
    return parse_items(document)


def load_items(entry: ModelEntry) -> tuple[Item, ...]:
    """Return the items of a catalogue entry, verified by digest. Raises Defect when they are not of its labels."""
    items = parse_items(read_description(entry.get_file(ROLE)))
    if tuple(item.finding for item in items) != entry.labels:
        raise Defect(f"the items of the model {entry.name} are not those of its labels")
    return items


def parse_items(document: object) -> tuple[Item, ...]:
    """Read the JSON form. Raises Defect that says what is wrong."""
    if not isinstance(document, Mapping) or not isinstance(document.get("items"), list) or not document["items"]:
        raise Defect("items of fVLM: expected an object with a list `items`")
    items = tuple(Item.from_document(each) for each in document["items"])
    if len({item.finding for item in items}) < len(items):
        raise Defect("items of fVLM: a finding is asked for twice")
    return items


def make_document(items: Sequence[Item]) -> dict[str, object]:
    """Return what `parse_items` reads."""
    return {"items": [asdict(item) for item in items]}


def list_prompts(items: Sequence[Item]) -> list[str]:
    """Return two sentences for each item, the negative one first."""
    return [text for item in items for text in (item.negative, item.positive)]


def list_organs(items: Sequence[Item]) -> tuple[Organ, ...]:
    """Return the organs that the items look at, in the order of the weights."""
    asked = {item.organ for item in items}
    return tuple(organ for organ in ORGANS if organ in asked)
