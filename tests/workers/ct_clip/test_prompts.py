"""Label texts: read from a file that goes with the weights; the shipped one asks for the product's findings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.errors import Defect
from shared.features import CT_CLIP_LABELS
from workers.ct_clip.prompts import LabelTexts, Statements, get_shipped_label_texts, make_prompts, read_label_texts

TEMPLATE = {"present": "There is {label}.", "absent": "There is no {label}."}
OWN = {"present": "A rib is broken.", "absent": "No rib is broken."}
TEXTS = LabelTexts.from_document({"template": TEMPLATE, "labels": {"Rib fracture": OWN}})


class TestShippedTexts:
    def test_they_ask_for_every_finding_of_the_fusion_in_its_order(self) -> None:
        assert tuple(get_shipped_label_texts().own) == CT_CLIP_LABELS

    def test_they_are_the_words_that_the_model_was_trained_on(self) -> None:
        texts = get_shipped_label_texts()
        assert texts.own == {label: texts.fill_template(label) for label in CT_CLIP_LABELS}
        assert make_prompts(["Thymoma"]) == ["Thymoma is present.", "Thymoma is not present."]


class TestStatements:
    def test_a_label_with_words_of_its_own_is_asked_with_them(self) -> None:
        assert TEXTS.state("Rib fracture") == Statements(**OWN)

    def test_any_other_is_put_into_the_template(self) -> None:
        assert TEXTS.state("emphysema") == Statements("There is emphysema.", "There is no emphysema.")

    def test_chosen_labels_are_spelt_out(self) -> None:
        chosen = TEXTS.choose(["emphysema", "Rib fracture"])
        assert list(chosen.own) == ["emphysema", "Rib fracture"]
        assert LabelTexts.from_document(chosen.to_document()) == chosen


class TestRefusal:
    @pytest.mark.parametrize(
        "document",
        [
            {},
            {"template": TEMPLATE},
            {"template": TEMPLATE, "labels": []},
            {"template": {"present": "Yes.", "absent": "No."}, "labels": {}},
            {"template": TEMPLATE, "labels": {"a": "A is present."}},
            {"template": TEMPLATE, "labels": {"a": {"present": "A."}}},
            {"template": TEMPLATE, "labels": {"a": {"present": "A.", "absent": 3}}},
            {"template": TEMPLATE, "labels": {"a": {"present": "A.", "absent": " "}}},
            {"template": TEMPLATE, "labels": {"a": {"present": "A.", "absent": "A."}}},
        ],
    )
    def test_a_wrong_document(self, document: dict[str, object]) -> None:
        with pytest.raises(Defect, match="label texts of CT-CLIP"):
            LabelTexts.from_document(document)

    @pytest.mark.parametrize("content", [None, "{", "[]"])
    def test_a_file_that_is_none(self, tmp_path: Path, content: str | None) -> None:
        if content is not None:
            (tmp_path / "texts.json").write_text(content)
        with pytest.raises(Defect, match=r"the label texts texts\.json"):
            read_label_texts(tmp_path / "texts.json")

    def test_a_sound_file_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "texts.json").write_text(json.dumps(TEXTS.to_document()))
        assert read_label_texts(tmp_path / "texts.json") == TEXTS
