"""What a report says, in one language: the result put into words, for the page and for print alike. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shared.json_values import JsonObject, JsonValue
from workers.report.evidence import make_findings, make_omissions
from workers.report.language import Language

Document = Mapping[str, Any]


def make_content(result: Document, language: Language) -> JsonObject:
    """Return every text of a report but those that belong to a picture."""
    return {
        "language": str(language),
        "page": _make_page(result, language),
        "profile": _make_profile(result, language),
        "verdict": _make_verdict(result, language),
        "missing": _make_missing(result, language),
        "findings": make_findings(result, language),
        "omissions": make_omissions(result, language),
        "score": {key: language.say("score", key) for key in ("heading", "note")},
        "study": _make_study(result, language),
        "quality": _make_quality(result, language),
        "models": _make_models(result, language),
        "disclaimer": _make_disclaimer(result, language),
    }


def _make_page(result: Document, language: Language) -> JsonObject:
    keys = ("title", "subtitle", "patient", "date", "reader", "by_hand")
    return {
        **{key: language.say("page", key) for key in keys},
        "page": language.say("page", "page", number="{number}", count="{count}"),  # print knows them last
        "job": f"{language.say('study', 'job')} {result['job_id']}",
    }


def _make_profile(result: Document, language: Language) -> JsonObject:
    profile = result["weights_profile"]
    return {
        "is_demo": profile == "demo",
        "title": language.say("profile", f"{profile}_title"),
        "text": language.say("profile", f"{profile}_text"),
    }


def _make_verdict(result: Document, language: Language) -> JsonObject:
    is_ill, completeness = bool(result["pathology"]), result["completeness"]
    is_calibrated = result["attribution"]["calibration"] is not None
    numbers = {
        "probability": language.write_beside(result["probability_of_pathology"], result["threshold"]),
        "threshold": language.write_threshold(result["threshold"]),
    }
    facts = {
        "calibrated_probability" if is_calibrated else "raw_probability": numbers["probability"],
        "threshold": numbers["threshold"],
        "answered": language.say("verdict", "of", answered=completeness["answered"], expected=completeness["expected"]),
        "policy": result["policy_id"],
    }
    return {
        "is_ill": is_ill,
        "heading": language.say("verdict", "pathology" if is_ill else "no_pathology"),
        "sentence": language.say("verdict", "reached" if is_ill else "below", **numbers),
        "leading_label": language.say("verdict", "leading"),
        "leading": _name_leading(result, language),
        "facts": [[language.say("verdict", key), value] for key, value in facts.items()],
        "note": language.say("verdict", "calibrated" if is_calibrated else "not_calibrated"),
    }


def _name_leading(result: Document, language: Language) -> str:
    """Return the leading finding; the result names it in English."""
    leading = result["most_dangerous_pathology_type"] if result["top_pathologies"] else None
    named = (language.name_finding(finding) for finding in result["findings"] if finding["name"] == leading)
    return next(named, language.say("verdict", "no_leading" if result["pathology"] else "nothing_leads"))


def _make_missing(result: Document, language: Language) -> JsonObject:
    missing = result["completeness"]["missing"]
    rows: list[JsonValue] = [
        [language.name_stage(entry["model"]), language.explain_reason(entry["reason"])] for entry in missing
    ]
    return {
        "heading": language.say("missing", "heading"),
        "rows": rows,
        "note": language.say("missing", "why" if missing else "none"),
    }


def _make_study(result: Document, language: Language) -> JsonObject:
    """Return what was read, without UIDs: no file that stays holds them (docs/adr/0013-dicom-outputs.md)."""
    series = result["series"]
    facts = {
        "slices": series["slices"],
        "spacing": _write_spacing(series["spacing_zyx_mm"], language),
        "kernel": _join(series["kernel"]),
        "reason": series["reason"],
        "job": result["job_id"],
    }
    rows: list[JsonValue] = [[language.say("study", key), str(fact)] for key, fact in facts.items() if fact]
    return {"heading": language.say("study", "heading"), "rows": rows}


def _write_spacing(spacing_zyx_mm: Sequence[float], language: Language) -> str:
    z, y, x = (language.write(spacing) for spacing in spacing_zyx_mm)
    return language.say("study", "mm", z=z, y=y, x=x)


def _join(kernel: str | Sequence[str] | None) -> str:
    """Return the convolution kernel; the attribute may have several values."""
    return kernel if isinstance(kernel, str) else ", ".join(kernel or ())


def _make_quality(result: Document, language: Language) -> JsonObject:
    return {
        "heading": language.say("quality", "heading"),
        "columns": [language.say("quality", key) for key in ("warning", "advice", "stage")],
        "rows": [_explain(entry, language) for entry in result["quality"]],
        "note": "" if result["quality"] else language.say("quality", "none"),
    }


def _explain(entry: Document, language: Language) -> JsonValue:
    kind, stage = language.explain_notice(entry["code"]), language.name_stage(entry["stage"])
    if kind is None:
        return [entry["code"].replace("_", " "), "", stage]
    return [kind.meaning.replace("`", ""), kind.advice.replace("`", ""), stage]


def _make_models(result: Document, language: Language) -> JsonObject:
    columns = ("model", "weights", "version", "digest")
    return {
        "heading": language.say("models", "heading"),
        "columns": [language.say("models", key) for key in columns],
        "rows": [
            [language.name_stage(model["name"]), model["weights"], model["version"], model["digest"]]
            for model in result["models"]
        ],
        "profile": [language.say("models", "profile"), language.say("models", result["weights_profile"])],
    }


def _make_disclaimer(result: Document, language: Language) -> JsonObject:
    keys = ("text", result["weights_profile"])
    return {
        "heading": language.say("disclaimer", "heading"),
        "texts": [language.say("disclaimer", key) for key in keys],
    }
