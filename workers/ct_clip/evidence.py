"""Evidence for what a model on CT-CLIP's image tower found: relevance maps as an artefact, and where they peak."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model_weights.catalogue import ModelEntry
from shared.artefacts import ArtefactKind
from shared.json_values import JsonObject
from workers.ct_clip.configuration import Preprocessing
from workers.ct_clip.image_tower import ImageTower
from workers.ct_clip.relevance import (
    Relevance,
    compute_raw_latent,
    compute_relevance,
    load_reference,
    make_own_reference,
)
from workers.ct_clip.relevance_file import write_relevance
from workers.ct_clip.relevance_places import Map, Place, find_place
from workers.ct_clip.token_grid import make_token_grid
from workers.model_stage import Question
from workers.runtime.stage import ProducedArtefact
from workers.volume.nifti import MEDIA_TYPE

RELEVANCE = "relevance"
"""The fact of a run that tells of the maps."""

MOST_FINDINGS = 5
FEWEST_FINDINGS = 3
NO_THRESHOLD = 0.5
"""What counts as a threshold where an entry has none for a label: more likely than not."""

Direct = Callable[[Tensor, Sequence[int]], Tensor]
"""From the latent before its norm (d,) and the numbers of findings: the directions (findings, d) of their scores."""


@dataclass(frozen=True)
class Claim:
    """What a model says of one finding, and from where on it says yes."""

    label: str
    probability: float
    threshold: float

    @property
    def margin(self) -> float:
        """How far the probability lies over the threshold, in log-odds: the same measure for all findings."""
        return _compute_log_odds(self.probability) - _compute_log_odds(self.threshold)


@dataclass(frozen=True)
class Evidence:
    """The artefact with the maps, and the facts of the run that tell of them."""

    artefact: ProducedArtefact
    facts: JsonObject


class Explainer:
    """Makes the evidence of one model; the healthy reference, if its entry has one, is loaded once."""

    def __init__(self, entry: ModelEntry, tower: ImageTower, kind: ArtefactKind) -> None:
        self.tower, self._kind = tower, kind
        self._preprocessing = Preprocessing.from_table(entry.preprocessing)
        slabs = self._preprocessing.shape[0] // tower.encoder.shape.temporal_patch_size
        self._healthy = load_reference(entry, tower, slabs)

    def explain(self, codes: Tensor, claims: Sequence[Claim], direct: Direct, question: Question) -> Evidence:
        """Return the evidence for the top claims about one volume, given its codes (t, h, w)."""
        chosen = choose_top(claims)
        relevance = self.compute_relevance(codes, chosen, direct)
        return self._record([claims[number] for number in chosen], relevance, question)

    @torch.inference_mode()
    def compute_relevance(self, codes: Tensor, findings: Sequence[int], direct: Direct) -> Relevance:
        """Return the maps of findings by their numbers."""
        directions = direct(compute_raw_latent(self.tower, codes), findings)
        return compute_relevance(self.tower, codes, directions, self._get_reference(codes))

    def _get_reference(self, codes: Tensor) -> Tensor:
        return make_own_reference(self.tower.encoder.code_book, codes) if self._healthy is None else self._healthy

    def _record(self, claims: Sequence[Claim], relevance: Relevance, question: Question) -> Evidence:
        shape = self.tower.encoder.shape
        grid = make_token_grid(question.geometry, question.shape_zyx, self._preprocessing, shape)
        maps = relevance.maps.permute(2, 3, 1, 0).float().cpu().numpy()  # (x, y, z, findings)
        places = [find_place(maps[..., number], grid, question.geometry) for number in range(len(claims))]
        facts = {
            "artifact": str(self._kind),
            "reference": "own_columns" if self._healthy is None else "healthy",
            "findings": [
                _describe(claim, number, float(of_reference), maps[..., number], place)
                for number, (claim, of_reference, place) in enumerate(
                    zip(claims, relevance.of_reference, places, strict=True)
                )
            ],
        }
        path = question.scratch / self._kind.file_name
        write_relevance(path, maps, grid.to_lps, facts)
        return Evidence(ProducedArtefact(self._kind, path, MEDIA_TYPE), facts)


def make_claims(entry: ModelEntry, probabilities: Sequence[float]) -> list[Claim]:
    """Return what a model says of each label of its entry."""
    thresholds: Mapping[str, float] = entry.thresholds
    return [
        Claim(label, probability, thresholds.get(label, NO_THRESHOLD))
        for label, probability in zip(entry.labels, probabilities, strict=True)
    ]


def choose_top(claims: Sequence[Claim]) -> list[int]:
    """Return which claims are shown, the strongest first.

    They are those that reach their thresholds, at most five, ranked by how far in log-odds: probabilities of CT-CLIP
    are not calibrated, and 0.6 may be high for one finding and low for another. Where none does, the nearest three are
    shown, so that a reader sees what the model looked at before it said no.
    """
    ranked = sorted(range(len(claims)), key=lambda number: (-claims[number].margin, number))
    reached = [number for number in ranked if claims[number].probability >= claims[number].threshold]
    return reached[:MOST_FINDINGS] or ranked[:FEWEST_FINDINGS]


def _describe(claim: Claim, volume: int, of_reference: float, relevance: Map, place: Place | None) -> JsonObject:
    return {
        "label": claim.label,
        "probability": claim.probability,
        "threshold": claim.threshold,
        "volume": volume,
        "log_odds": {"of_map": float(np.sum(relevance, dtype=np.float64)), "of_reference": of_reference},
        "place": None if place is None else _describe_place(place),
    }


def _describe_place(place: Place) -> JsonObject:
    return {
        "peak_lps_mm": list(place.peak_lps_mm),
        "peak_log_odds": place.peak_log_odds,
        "share": place.share,
        "box_lps_mm": {"low": list(place.low_lps_mm), "high": list(place.high_lps_mm)},
        "slices": {
            "first": place.slices[0],
            "last": place.slices[1],
            "positions_mm": list(place.slice_positions_mm),
        },
    }


def _compute_log_odds(probability: float) -> float:
    bounded = min(max(probability, 1e-6), 1 - 1e-6)
    return math.log(bounded / (1 - bounded))
