"""The findings of a report with what each model says of them, and what would change without each model. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shared.json_values import JsonObject, JsonValue
from shared.stages import MODELS
from workers.report.language import Language

Document = Mapping[str, Any]

MOST_FINDINGS = 12
"""How many are shown, unless more than these reached a threshold."""

SMALLEST_SHOWN = 0.005
"""Log-odds below which a finding without evidence is left to the result: it would read as 0.00."""


def make_findings(result: Document, language: Language) -> JsonObject:
    """Return the table of findings, the most important first."""
    findings = choose_findings(result["findings"])
    models = [model for model in MODELS if any(model in finding["models"] for finding in findings)]
    return {
        "heading": language.say("findings", "heading"),
        "columns": [
            language.say("findings", "finding"),
            *(language.name_stage(model) for model in models),
            language.say("findings", "moved"),
        ],
        "rows": [_make_row(finding, models, result, language) for finding in findings],
        "note": language.say("findings", "note" if findings else "none"),
        "others": _count_others(result["findings"], findings, language),
        "site_heading": language.say("findings", "site"),
        "site": [[site["name"], language.write(site["probability"])] for site in result.get("site_findings", ())],
    }


def choose_findings(findings: Sequence[Document]) -> list[Document]:
    """Return all findings that reached a threshold, and some that only moved the score, in the order of the result."""
    reached = {finding["finding"] for finding in findings if finding["above_threshold"]}
    moved = {f["finding"]: abs(f["attribution"]) for f in findings if f["finding"] not in reached and _has_moved(f)}
    most = max(0, MOST_FINDINGS - len(reached))
    kept = reached | set(sorted(moved, key=lambda name: moved[name], reverse=True)[:most])
    return [finding for finding in findings if finding["finding"] in kept]


def _has_moved(finding: Document) -> bool:
    return bool(abs(finding["attribution"]) >= SMALLEST_SHOWN)


def _count_others(findings: Sequence[Document], shown: Sequence[Document], language: Language) -> str:
    """Return how many findings are not shown: those that moved the score, and those that did nothing."""
    told = sum(finding["above_threshold"] or _has_moved(finding) for finding in findings)
    counts = {"cut": told - len(shown), "others": len(findings) - told}
    return " ".join(language.say("findings", key, count=count) for key, count in counts.items() if count)


def _make_row(finding: Document, models: Sequence[str], result: Document, language: Language) -> JsonObject:
    leads = bool(result["top_pathologies"]) and finding["name"] == result["most_dangerous_pathology_type"]
    return {
        "name": language.name_finding(finding),
        "leads": leads,
        "cells": [_make_cell(finding, model, language) for model in models],
        "moved": language.write(finding["attribution"], signed=True),
        "raises": finding["attribution"] > 0,
    }


def _make_cell(finding: Document, model: str, language: Language) -> JsonObject:
    """Return a model's probability with its threshold; empty where it does not speak of the finding."""
    probability, threshold = finding["models"].get(model), finding["thresholds"].get(model)
    if probability is None:
        return {"probability": "", "threshold": "", "is_reached": False}
    return {
        "probability": language.write(probability),
        "threshold": "" if threshold is None else language.write(threshold),
        "is_reached": threshold is not None and probability >= threshold,
    }


def make_omissions(result: Document, language: Language) -> JsonObject:
    """Return what would change without each model that answered."""
    columns = ("model", "probability", "change", "verdict")
    return {
        "heading": language.say("score", "without"),
        "columns": [language.say("score", key) for key in columns],
        "rows": [_make_omission(model, told, result, language) for model, told in result["without_model"].items()],
    }


def _make_omission(model: str, told: Document, result: Document, language: Language) -> JsonValue:
    probability = told["probability_of_pathology"]
    change = probability - result["probability_of_pathology"]
    numbers = [language.write_beside(probability, result["threshold"]), language.write(change, 3, signed=True)]
    return [language.name_stage(model), *numbers, _judge(told, result, language)]


def _judge(told: Document, result: Document, language: Language) -> str:
    if not told["is_allowed"]:
        return language.say("score", "refused")
    if told["pathology"] == result["pathology"]:
        return language.say("score", "same")
    return language.say("score", "pathology" if told["pathology"] else "no_pathology")
