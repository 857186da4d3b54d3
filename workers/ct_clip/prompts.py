"""The statements that CT-CLIP is asked with: read from a file, never written in code. Light: no torch.

A file of label texts is JSON, and goes with the weights as the catalogue's role `label_texts`:

    {"template": {"present": "{label} is present.", "absent": "{label} is not present."},
     "labels": {"Pneumonia": {"present": "Pneumonia is present.", "absent": "Pneumonia is not present."}, ...}}

`template` states what has no statements of its own under `labels`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Self

from model_weights.catalogue import ModelEntry
from model_weights.verifying import read_description
from shared.errors import Defect

ROLE = "label_texts"
LABEL_TEXTS_FILE = Path(__file__).parent / "label_texts.json"
"""The product's 55 findings, in the words that CT-CLIP was trained on."""

_PLACE = "{label}"


@dataclass(frozen=True)
class Statements:
    """What CT-CLIP weighs against each other: that a finding is present, and that it is not."""

    present: str
    absent: str

    def __post_init__(self) -> None:
        """Refuse what cannot be told apart. Raises Defect."""
        if not all(isinstance(text, str) and text.strip() for text in (self.present, self.absent)):
            raise Defect("label texts of CT-CLIP: `present` and `absent` must both be texts")
        if self.present == self.absent:
            raise Defect(f"label texts of CT-CLIP: {self.present!r} says both that a finding is present and that not")


@dataclass(frozen=True)
class LabelTexts:
    """How each label is stated; `own` are the labels with statements of their own."""

    template: Statements
    own: Mapping[str, Statements]

    def __post_init__(self) -> None:
        """Refuse a template that says the same of every label. Raises Defect."""
        if _PLACE not in self.template.present or _PLACE not in self.template.absent:
            raise Defect(f"label texts of CT-CLIP: both sentences of the template must hold {_PLACE}")

    @classmethod
    def from_document(cls, document: Mapping[str, object]) -> Self:
        """Read the JSON form. Raises Defect that says what is wrong."""
        if set(document) != {"template", "labels"} or not isinstance(document["labels"], Mapping):
            raise Defect("label texts of CT-CLIP: expected an object with `template` and `labels`")
        own = {str(label): _parse_statements(said) for label, said in document["labels"].items()}
        return cls(_parse_statements(document["template"]), own)

    def to_document(self) -> dict[str, object]:
        """Return what `from_document` reads."""
        return {
            "template": asdict(self.template),
            "labels": {label: asdict(statements) for label, statements in self.own.items()},
        }

    def state(self, label: str) -> Statements:
        """Return the statements of any label."""
        return self.own[label] if label in self.own else self.fill_template(label)

    def fill_template(self, label: str) -> Statements:
        """Return the statements that the template makes of a label."""
        return Statements(self.template.present.replace(_PLACE, label), self.template.absent.replace(_PLACE, label))

    def choose(self, labels: Sequence[str]) -> LabelTexts:
        """Return the texts of exactly these labels, each spelt out."""
        return LabelTexts(self.template, {label: self.state(label) for label in labels})


def read_label_texts(path: Path) -> LabelTexts:
    """Read a file of label texts. Raises Defect that says what is wrong."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Defect(f"the label texts {path.name} cannot be read as JSON: {type(error).__name__}") from error
    if not isinstance(document, dict):
        raise Defect(f"the label texts {path.name} are not a JSON object")
    return LabelTexts.from_document(document)


def load_label_texts(entry: ModelEntry) -> LabelTexts:
    """Return the label texts of a catalogue entry, verified by digest."""
    return LabelTexts.from_document(read_description(entry.get_file(ROLE)))


@cache
def get_shipped_label_texts() -> LabelTexts:
    """Return the texts of `LABEL_TEXTS_FILE`, read once."""
    return read_label_texts(LABEL_TEXTS_FILE)


def make_prompts(labels: Sequence[str], texts: LabelTexts | None = None) -> list[str]:
    """Return two statements for each label, that it is present and that it is not; by default as shipped."""
    texts = texts or get_shipped_label_texts()
    return list_prompts([texts.state(label) for label in labels])


def list_prompts(statements: Sequence[Statements]) -> list[str]:
    """Return both statements of each, one after the other."""
    return [text for each in statements for text in (each.present, each.absent)]


def _parse_statements(said: object) -> Statements:
    if not isinstance(said, Mapping) or set(said) != {"present", "absent"}:
        raise Defect("label texts of CT-CLIP: expected exactly `present` and `absent`")
    return Statements(said["present"], said["absent"])
