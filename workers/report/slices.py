"""Which slices of a study matter, by what the result says of places. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

Document = Mapping[str, Any]
Point = Sequence[float]

MOST_FINDINGS = 4
MOST_ANOMALIES = 2


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


def choose_sights(result: Document) -> list[Sight]:
    """Return the places that speak for the findings that matter most, and the most suspicious slices."""
    of_findings = [sight for finding in choose_findings(result) if (sight := _see_finding(finding)) is not None]
    return [*of_findings[:MOST_FINDINGS], *list(_see_anomalies(result))[:MOST_ANOMALIES]]


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


def _see_anomalies(result: Document) -> Iterator[Sight]:
    slices = (result.get("anomaly") or {}).get("slices", {})
    for each in slices.get("highest", ()):
        yield Sight("diffusion", None, each["centre_lps_mm"], None, each["probability"], Window.LUNG)
