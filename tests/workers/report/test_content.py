"""What a report says of a result: nothing left out that a reader must know, nothing taken for markup."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from jsonschema import Draft202012Validator

from tests.workers.report.study import RESULT, find_slice, make_result
from workers.report.charts import draw_gauge
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

    @pytest.mark.parametrize(
        ("probability", "threshold", "sentence"),
        [
            (0.5899996, 0.59, "The probability of pathology, 0.5899996, is below the threshold of 0.59."),
            (0.5996, 0.5995, "The probability of pathology, 0.600, reaches the threshold of 0.5995."),
            (0.59948, 0.5995, "The probability of pathology, 0.599, is below the threshold of 0.5995."),
            (0.12349, 0.1235, "The probability of pathology, 0.123, is below the threshold of 0.1235."),
            (0.1235, 0.1235, "The probability of pathology, 0.1235, reaches the threshold of 0.1235."),
            (0.5, 0.5, "The probability of pathology, 0.500, reaches the threshold of 0.50."),
        ],
    )
    def test_is_what_the_numbers_beside_it_say(self, probability: float, threshold: float, sentence: str) -> None:
        fields: dict[str, Any] = {"probability_of_pathology": probability, "threshold": threshold}
        fields["pathology"] = int(probability >= threshold)
        assert tell(**fields)["verdict"]["sentence"] == sentence
        written = sentence.rsplit(maxsplit=1)[-1].removesuffix(".")
        assert f"Threshold of the policy {written}<" in draw_gauge(make_result(**fields), ENGLISH)

    @pytest.mark.parametrize(
        ("calibration", "label", "note"),
        [
            ({"slope": 0.9, "intercept": 0.17}, "Calibrated probability", "The probability is calibrated for"),
            (None, "Probability (not calibrated)", "The probability is not calibrated:"),
        ],
    )
    def test_says_whether_the_probability_is_calibrated(
        self, calibration: dict[str, float] | None, label: str, note: str
    ) -> None:
        verdict = tell(attribution={**RESULT["attribution"], "calibration": calibration})["verdict"]
        assert verdict["facts"][0] == [label, "0.834"]
        assert verdict["note"].startswith(note)

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

    def test_nothing_that_reached_a_threshold_is_cut_and_what_is_cut_is_counted(self) -> None:
        reached = [{**RESULT["findings"][1], "finding": f"loud_{number}"} for number in range(14)]
        told = tell(findings=[*reached, *RESULT["findings"]])["findings"]
        assert [row["name"] for row in told["rows"]].count("Atelectasis") == 15
        assert len(told["rows"]) == 16
        assert "moved the score and reached no threshold: 1;" in told["others"]
        assert "neither moved the score nor reached a threshold: 1;" in told["others"]


class TestWithoutEachModel:
    def test_the_change_and_the_verdict_are_told(self) -> None:
        rows = tell()["omissions"]["rows"]
        assert rows[0] == ["CT-CLIP", "0.571", "\u22120.263", "no pathology"]
        assert rows[1][3] == "the same"
        assert rows[3][3].startswith("no result")

    def test_the_probability_is_never_rounded_over_the_threshold(self) -> None:
        without = {"ct_clip": {"probability_of_pathology": 0.58999, "pathology": 0, "is_allowed": True}}
        assert tell(without_model=without)["omissions"]["rows"][0][1] == "0.58999"


class TestQuality:
    def test_warnings_stand_in_words(self) -> None:
        meaning, advice, stage = tell()["quality"]["rows"][1]
        assert (meaning[:10], advice[:6], stage) == ("The slices", "Send a", "Reading")

    def test_a_warning_that_nobody_wrote_about_is_not_dropped(self) -> None:
        rows = tell(quality=[{"code": "sun_too_low", "stage": "intake", "facts": {}}])["quality"]["rows"]
        assert rows == [["sun too low", "", "Reading"]]


class TestSlices:
    def test_are_those_of_the_findings_and_then_the_suspicious_ones(self) -> None:
        sights = choose_sights(RESULT, find_slice)
        assert [sight.finding and sight.finding["finding"] for sight in sights] == [
            "pleural_effusion",
            "atelectasis",
            None,
        ]

    def test_are_seen_as_the_organ_asks_for(self) -> None:
        findings = make_result()["findings"]
        findings[0]["organ"] = "aorta"
        assert [sight.window for sight in choose_sights(make_result(findings=findings), find_slice)][:2] == [
            Window.SOFT_TISSUE,
            Window.LUNG,
        ]

    def test_a_map_without_a_place_shows_nothing(self) -> None:
        findings = make_result()["findings"]
        for finding in findings[:2]:
            finding["relevance"]["ct_clip"]["place"] = None
        assert choose_sights(make_result(findings=findings, anomaly=None), find_slice) == []

    @pytest.mark.parametrize(
        ("heights_mm", "shown_mm"),
        [
            ((-100.0, -98.5, -101.5), [-100.0]),
            ((-100.0, -98.5, -97.0, -95.5), [-100.0, -97.0]),
            ((-100.0, -97.0, -60.0, -59.0), [-100.0, -60.0]),
        ],
        ids=["one stored slice", "neighbours", "apart"],
    )
    def test_that_are_suspicious_are_no_stored_slice_twice(
        self, heights_mm: Sequence[float], shown_mm: list[float]
    ) -> None:
        highest = [{"probability": 0.7, "centre_lps_mm": [0.0, 0.0, height]} for height in heights_mm]
        sights = choose_sights(make_result(findings=[], anomaly={"slices": {"highest": highest}}), find_slice)
        assert [sight.point_lps_mm[2] for sight in sights] == shown_mm
