"""Which slices of a study matter, by what the result says of places. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

Document = Mapping[str, Any]
Point = Sequence[float]

MOST_FINDINGS = 4
MOST_ANOMALIES = 2
_APART_MM = 8.0


class Window(Enum):
    """Which HU are shown, from black to white: by what a radiologist would look at the organ with."""

    LUNG = (-1350.0, 150.0)
    SOFT_TISSUE = (-160.0, 240.0)
    BONE = (-500.0, 1300.0)


_WINDOWS = {
    **dict.fromkeys(("lung", "airways", "pleura", "chest"), Window.LUNG),
    **dict.fromkeys(("bone", "rib", "spine"), Window.BONE),
}


@dataclass(frozen=True)
class Box:
    """Corners of a box in the patient, LPS in millimetres."""

    low_lps_mm: Point
    high_lps_mm: Point


@dataclass(frozen=True)
class Sight:
    """A place to look at: the slice through a point, and a box around what is meant.

    `finding` is None where a slice as a whole is suspicious; `figure` is the share of relevance in the box, or the
    probability of the slice.
    """

    model: str
    finding: Document | None
    point_lps_mm: Point
    box: Box | None
    figure: float
    window: Window


def choose_sights(result: Document, find_slice: Callable[[Point], int]) -> list[Sight]:
    """Return the places that speak for the findings that matter most, and the most suspicious slices.

    `find_slice` tells the stored slice of a point: scored slices may lie closer than stored ones.
    """
    of_findings = [sight for finding in choose_findings(result) if (sight := _see_finding(finding)) is not None]
    return [*of_findings[:MOST_FINDINGS], *_choose_anomalies(list(_see_anomalies(result)), find_slice)]


def choose_findings(result: Document) -> list[Document]:
    """Return the findings that reached a threshold, those that raised the score most first."""
    return [finding for finding in result["findings"] if finding["above_threshold"]]


def _see_finding(finding: Document) -> Sight | None:
    """Return where the model with the most relevance in one place saw a finding."""
    told = [(model, of["place"]) for model, of in finding.get("relevance", {}).items() if of["place"] is not None]
    if not told:
        return None
    model, place = max(told, key=lambda entry: (entry[1]["share"], entry[0]))
    box = Box(place["box_lps_mm"]["low"], place["box_lps_mm"]["high"])
    window = _WINDOWS.get(finding["organ"], Window.SOFT_TISSUE)
    return Sight(model, finding, place["peak_lps_mm"], box, place["share"], window)


def _choose_anomalies(sights: Sequence[Sight], find_slice: Callable[[Point], int]) -> list[Sight]:
    """Return the first sights, no stored slice twice, and some mm apart where any of them are."""
    chosen: list[Sight] = []
    left = list(sights)
    while left and len(chosen) < MOST_ANOMALIES:
        chosen.append(next((sight for sight in left if _is_apart(sight, chosen)), left[0]))
        shown = {find_slice(sight.point_lps_mm) for sight in chosen}
        left = [sight for sight in left if find_slice(sight.point_lps_mm) not in shown]
    return chosen


def _is_apart(sight: Sight, others: Sequence[Sight]) -> bool:
    return all(math.dist(sight.point_lps_mm, other.point_lps_mm) >= _APART_MM for other in others)


def _see_anomalies(result: Document) -> Iterator[Sight]:
    slices = (result.get("anomaly") or {}).get("slices", {})
    for each in slices.get("highest", ()):
        yield Sight("diffusion", None, each["centre_lps_mm"], None, each["probability"], Window.LUNG)
