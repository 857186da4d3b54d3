"""Drawings of the report as SVG, for the page and for print alike: scale of probability, bars of the score, profile."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import jinja2

from workers.report.language import Language

_WIDTH = 720.0
_LABELS = 170.0
_NUMBERS = 70.0
_PROFILE_HEIGHT = 90.0


@dataclass(frozen=True)
class _Bar:
    """One row: from where to where it reaches on the chart, and what stands beside it."""

    label: str
    number: str
    left: float
    width: float
    colour: str


@cache
def make_environment() -> jinja2.Environment:
    """Return the templates of this package; whatever is filled in is escaped."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("workers.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def draw_gauge(result: Mapping[str, Any], language: Language) -> str:
    """Return the probability on a scale from 0 to 1, with the threshold."""
    probability, threshold = result["probability_of_pathology"], result["threshold"]
    return _render(
        "gauge.svg.jinja",
        probability=probability * _WIDTH,
        threshold=threshold * _WIDTH,
        is_ill=bool(result["pathology"]),
        ticks=[(share * _WIDTH, language.write(share, 1)) for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)],
        threshold_text=f"{language.say('verdict', 'threshold')} {language.write_threshold(threshold)}",
    )


def draw_contributions(attribution: Mapping[str, Any], language: Language) -> str:
    """Return bars that lead from the base value over each model to the score, in log-odds."""
    steps = [(language.say("score", "base"), attribution["base_value"])]
    steps += [(language.name_stage(model), moved) for model, moved in attribution["by_model"].items()]
    ends = [0.0]
    for _, moved in steps:
        ends.append(ends[-1] + moved)
    low, high = min(ends), max(ends)
    scale = (_WIDTH - _LABELS - _NUMBERS) / max(high - low, 1e-9)
    bars = [
        _make_bar(label, (start - low, end - low), scale, language)
        for (label, _), (start, end) in zip(steps, pairwise(ends), strict=True)
    ]
    total = _make_bar(language.say("score", "total"), (-low, attribution["raw_score"] - low), scale, language)
    return _render("contributions.svg.jinja", bars=[*bars, total], zero=_LABELS - low * scale)


def draw_profile(slices: Mapping[str, Any], language: Language) -> str:
    """Return the suspicion of each slice as a line, from the feet to the head."""
    probabilities: Sequence[float] = slices["probabilities"]
    first, step = slices["first_centre_lps_mm"][2], slices["step_lps_mm"][2]
    across = _WIDTH / max(len(probabilities) - 1, 1)
    points = [(place * across, _PROFILE_HEIGHT * (1 - value)) for place, value in enumerate(probabilities)]
    last = first + step * (len(probabilities) - 1)
    return _render(
        "profile.svg.jinja",
        points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points),
        height=_PROFILE_HEIGHT,
        first=language.write(first, 0),
        last=language.write(last, 0),
        axis=language.say("slices", "profile_axis"),
        levels=[(_PROFILE_HEIGHT * (1 - level), language.write(level, 1)) for level in (0.0, 0.5, 1.0)],
    )


def _make_bar(label: str, ends: tuple[float, float], scale: float, language: Language) -> _Bar:
    start, end = ends
    return _Bar(
        label=label,
        number=language.write(end - start, signed=True),
        left=_LABELS + min(ends) * scale,
        width=max(math.fabs(end - start) * scale, 1.0),
        colour="#b3261e" if end >= start else "#1b6e3c",
    )


def _render(template: str, **facts: object) -> str:
    return make_environment().get_template(template).render(width=_WIDTH, **facts)
