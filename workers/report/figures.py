"""Everything that a report shows: drawn once for all languages, and captioned in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from shared.artefacts import ArtefactKind
from shared.json_values import JsonObject, JsonValue
from workers.report.charts import draw_contributions, draw_gauge, draw_profile
from workers.report.language import Language
from workers.report.pictures import Seen, draw_sight, find_slice, shrink
from workers.report.slices import Sight, choose_sights
from workers.volume import VolumeFile

Document = Mapping[str, Any]

DRAWN: Mapping[str, ArtefactKind] = {
    "organs": ArtefactKind.MASKS_PREVIEW,
    "anomaly": ArtefactKind.ANOMALY_MAP_PREVIEW,
    "overview": ArtefactKind.PREVIEW,
}
"""Sections that show what another stage drew."""


@dataclass(frozen=True)
class Figures:
    """The pictures of a study, as JPEG: its slices that matter, and by section what other stages drew."""

    slices: Sequence[tuple[Sight, Seen]]
    drawn: Mapping[str, bytes]

    @property
    def files(self) -> dict[str, bytes]:
        """The pictures by their names in a report."""
        slices = {_name_slice(number): seen.jpeg for number, (_, seen) in enumerate(self.slices)}
        return slices | {f"{section}.jpg": picture for section, picture in self.drawn.items()}


def draw_figures(result: Document, files: Mapping[ArtefactKind, Path]) -> Figures:
    """Draw the pictures of a result from the artefacts that its job has."""
    volume = files.get(ArtefactKind.VOLUME)
    slices = []
    if volume is not None:
        opened = VolumeFile(volume)
        sights = choose_sights(result, partial(find_slice, opened))
        slices = [(sight, draw_sight(opened, sight)) for sight in sights]
    drawn = {section: shrink(files[kind]) for section, kind in DRAWN.items() if kind in files}
    return Figures(slices, drawn)


def draw_charts(result: Document, language: Language) -> dict[str, str]:
    """Return the drawings of a result as SVG, by name."""
    charts = {
        "gauge.svg": draw_gauge(result, language),
        "contributions.svg": draw_contributions(result["attribution"], language),
    }
    slices = (result.get("anomaly") or {}).get("slices")
    return charts if slices is None else {**charts, "profile.svg": draw_profile(slices, language)}


def make_captions(result: Document, figures: Figures, language: Language) -> JsonObject:
    """Return the sections that show pictures: headings, notes, and a caption for each slice."""
    slices: list[JsonValue] = [
        {"file": _name_slice(number), **_describe(sight, seen, language)}
        for number, (sight, seen) in enumerate(figures.slices)
    ]
    return {
        "slices": {
            "heading": language.say("slices", "heading"),
            "pictures": slices,
            "note": language.say("slices", "note" if slices else "none"),
            "profile": language.say("slices", "profile") if (result.get("anomaly") or {}).get("slices") else "",
        },
        "overview": _make_section("study", "overview", figures, note="overview", language=language),
        "organs": {
            **_make_section("organs", "organs", figures, note="note", language=language),
            "truncated": _list_truncated(result, language),
        },
        "anomaly": _make_section("anomaly", "anomaly", figures, note="note", language=language),
    }


def _make_section(texts: str, section: str, figures: Figures, *, note: str, language: Language) -> JsonObject:
    return {
        "heading": language.say(texts, "heading"),
        "file": f"{section}.jpg" if section in figures.drawn else "",
        "note": language.say(texts, note),
    }


def _describe(sight: Sight, seen: Seen, language: Language) -> JsonObject:
    is_share = sight.finding is not None
    facts = {
        "model": language.name_stage(sight.model),
        "slice": seen.index,
        "z": language.write(seen.height_mm, 0),
        "share": f"{language.write(100 * sight.figure, 0)} %",
        "probability": language.write(sight.figure),
    }
    return {
        "title": language.say("slices", "anomaly") if sight.finding is None else language.name_finding(sight.finding),
        "caption": language.say("slices", "seen" if is_share else "suspicious", **facts),
    }


def _list_truncated(result: Document, language: Language) -> str:
    organs = (result.get("organs") or {}).get("truncated", ())
    return language.say("organs", "truncated", organs=", ".join(organs).replace("_", " ")) if organs else ""


def _name_slice(number: int) -> str:
    return f"slice_{number + 1}.jpg"
