"""What a report says of a result: nothing left out that a reader must know, nothing taken for markup."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
from jsonschema import Draft202012Validator

from tests.workers.report.study import RESULT, make_result
from workers.report.content import make_content
from workers.report.evidence import MOST_FINDINGS, choose_findings
from workers.report.language import Language
from workers.report.slices import Window, choose_sights

SCHEMA = json.loads((Path(__file__).parents[3] / "shared" / "result.schema.json").read_text())
ENGLISH, RUSSIAN = Language.ENGLISH, Language.RUSSIAN


def tell(language: Language = ENGLISH, **changes: object) -> dict[str, Any]:
    return cast("dict[str, Any]", make_content(make_result(**changes), language))


class TestStudy:
    def test_is_a_result(self) -> None:
        slim = make_result(anomaly=None, organs=None)  # these two are made up in part
        Draft202012Validator(SCHEMA).validate(slim)


class TestVerdict:
    @pytest.mark.parametrize(
        ("language", "sentence"),
        [
            (ENGLISH, "The probability of pathology, 0.834, reaches the threshold of 0.59."),
            (RUSSIAN, "Вероятность патологии 0,834 достигает порога 0,59."),
        ],
    )
    def test_names_probability_and_threshold(self, language: Language, sentence: str) -> None:
        assert tell(language)["verdict"]["sentence"] == sentence

    def test_names_the_leading_finding_in_the_language(self) -> None:
        assert tell(RUSSIAN)["verdict"]["leading"] == "Плевральный выпот"

    def test_of_class_zero_leads_with_nothing(self) -> None:
        fields: dict[str, Any] = {
            "pathology": 0,
            "top_pathologies": [],
            "most_dangerous_pathology_type": "No specific pathology detected",
        }
        verdict = tell(**fields)["verdict"]
        assert (verdict["heading"], verdict["leading"]) == ("No pathology suspected", "No specific pathology detected")

    def test_of_class_one_without_evidence_admits_that_nothing_leads(self) -> None:
        fields: dict[str, Any] = {
            "top_pathologies": [],
            "most_dangerous_pathology_type": "No specific pathology detected",
        }
        assert tell(**fields)["verdict"]["leading"] == "none with evidence of its own"

    @pytest.mark.parametrize(("profile", "is_demo"), [("demo", True), ("full", False)])
    def test_says_what_the_weights_are_good_for(self, profile: str, is_demo: bool) -> None:
        told = tell(weights_profile=profile)["profile"]
        assert (told["is_demo"], "PHANTOMS" in told["title"]) == (is_demo, is_demo)


class TestWhatIsMissing:
    def test_is_named_with_its_reason_in_words(self) -> None:
        assert tell()["missing"]["rows"] == [["MedNeXt", "the study is too large for the memory of this machine"]]

    def test_nothing_is_said_to_be_missing_of_a_whole_answer(self) -> None:
        missing = tell(completeness={"answered": 5, "expected": 5, "missing": []})["missing"]
        assert (missing["rows"], missing["note"]) == ([], "Nothing: all models answered.")


class TestFindings:
    def test_carry_the_evidence_of_every_model_and_the_attribution(self) -> None:
        first = tell()["findings"]["rows"][0]
        assert (first["name"], first["leads"], first["moved"]) == ("Pleural effusion", True, "+1.42")
        assert [cell["probability"] for cell in first["cells"]] == ["0.91", "0.87", "0.66", "0.71"]

    def test_a_model_that_says_nothing_of_a_finding_has_an_empty_cell(self) -> None:
        assert tell()["findings"]["rows"][1]["cells"][2] == {"probability": "", "threshold": "", "is_reached": False}

    def test_a_threshold_is_reached_by_the_number_and_not_by_its_rounding(self) -> None:
        findings = make_result()["findings"]
        findings[1]["models"]["ct_clip"] = 0.4999
        cell = tell(findings=findings)["findings"]["rows"][1]["cells"][0]
        assert (cell["probability"], cell["is_reached"]) == ("0.50", False)

    def test_what_neither_moved_nor_reached_anything_is_counted(self) -> None:
        assert "reached a threshold: 1;" in tell()["findings"]["others"]

    def test_a_long_list_keeps_what_reached_a_threshold(self) -> None:
        quiet = [{**RESULT["findings"][2], "finding": f"quiet_{number}", "attribution": -2.0} for number in range(30)]
        shown = choose_findings([*quiet, *RESULT["findings"]])
        assert len(shown) == MOST_FINDINGS
        assert {"pleural_effusion", "atelectasis"} <= {finding["finding"] for finding in shown}


class TestWithoutEachModel:
    def test_the_change_and_the_verdict_are_told(self) -> None:
        rows = tell()["omissions"]["rows"]
        assert rows[0] == ["CT-CLIP", "0.571", "\u22120.263", "no pathology"]
        assert rows[1][3] == "the same"
        assert rows[3][3].startswith("no result")


class TestQuality:
    def test_warnings_stand_in_words(self) -> None:
        meaning, advice, stage = tell()["quality"]["rows"][1]
        assert (meaning[:10], advice[:6], stage) == ("The slices", "Send a", "Reading")

    def test_a_warning_that_nobody_wrote_about_is_not_dropped(self) -> None:
        rows = tell(quality=[{"code": "sun_too_low", "stage": "intake", "facts": {}}])["quality"]["rows"]
        assert rows == [["sun too low", "", "Reading"]]


class TestSlices:
    def test_are_those_of_the_findings_and_then_the_suspicious_ones(self) -> None:
        sights = choose_sights(RESULT)
        assert [sight.finding and sight.finding["finding"] for sight in sights] == [
            "pleural_effusion",
            "atelectasis",
            None,
        ]

    def test_are_seen_as_the_organ_asks_for(self) -> None:
        findings = make_result()["findings"]
        findings[0]["organ"] = "aorta"
        assert [sight.window for sight in choose_sights(make_result(findings=findings))][:2] == [
            Window.SOFT_TISSUE,
            Window.LUNG,
        ]

    def test_a_map_without_a_place_shows_nothing(self) -> None:
        findings = make_result()["findings"]
        for finding in findings[:2]:
            finding["relevance"]["ct_clip"]["place"] = None
        assert choose_sights(make_result(findings=findings, anomaly=None)) == []
