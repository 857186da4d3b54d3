"""Slices reconstructed for one study, where its policy wants that: statistics, a map as an artefact, regions, facts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model_weights.catalogue import ModelEntry
from model_weights.loading import load_tensors
from model_weights.policies.reconstruction import ReconstructionOptions, SliceChoice, When
from shared.artefacts import ArtefactKind
from shared.json_values import JsonObject
from shared.notices import NoticeCode
from workers.diffusion.anomaly_map import MEDIA_TYPE, AnomalyMapFile, write_anomaly_map
from workers.diffusion.classifier import SliceClassifier
from workers.diffusion.configuration import Architecture, MapShape
from workers.diffusion.cost import SliceCost
from workers.diffusion.features import NOT_RUN, hide_faults, summarise
from workers.diffusion.known_answer import TOLERANCE, answer_as_unet, require_known_answer
from workers.diffusion.loading import make_unet
from workers.diffusion.map_refining import measure_pixel, refine
from workers.diffusion.plan import Plan, plan_reconstruction
from workers.diffusion.process import PREDECESSOR_OFFSET, Process
from workers.diffusion.reconstruction import average, reconstruct
from workers.diffusion.regions import find_regions
from workers.diffusion.slice_grid import SliceGrid
from workers.diffusion.slices import choose_evenly, take_slices
from workers.diffusion.unet import UNet
from workers.model_stage import Question
from workers.renderings import Maker, RenderedStudy, make_anomaly_renderings
from workers.runtime.stage import ProducedArtefact, StageWarning

UNET_ROLE = "unet_weights"
"""File of an entry, which it may lack, with the noise predictor."""

_HU = 1000.0
"""What a difference of 1 between prepared slices is."""


@dataclass(frozen=True)
class Evidence:
    """What the reconstruction adds to an answer; without it, statistics that are not known."""

    facts: JsonObject
    statistics: tuple[float, float, float] = NOT_RUN
    artefacts: Sequence[ProducedArtefact] = ()
    warnings: Sequence[StageWarning] = ()
    render: Callable[[RenderedStudy], Sequence[ProducedArtefact]] | None = None


@dataclass(frozen=True)
class Suspect:
    """One study as the classifier left it: the prepared volume (slice, x, y), and the scores of its slices."""

    prepared: Tensor
    scores: Mapping[int, float]
    grid: SliceGrid

    def list_candidates(self, *, has_padding: bool) -> list[int]:
        """Return the slices that may be reconstructed: those that hold any of the scan, or all that have a score."""
        return [number for number in self.scores if has_padding or number in self.grid.scanned]


class Reconstructor:
    """The noise predictor of one entry, loaded and checked when first needed, beside the classifier that guides it.

    It runs in float32: what less does to maps was never measured.
    """

    def __init__(self, entry: ModelEntry, classifier: SliceClassifier, device: torch.device, *, batch: int) -> None:
        self._entry, self._device, self._batch = entry, device, batch
        self._shapes = Architecture.from_table(entry.architecture)
        self._classifier = classifier
        self._unet: UNet | None = None
        self._loading = threading.Lock()

    def explain(self, suspect: Suspect, options: ReconstructionOptions, question: Question) -> Evidence:
        """Return the evidence that the options want."""
        candidates = suspect.list_candidates(has_padding=options.quirks.padded_slices)
        if not is_wanted(options, [suspect.scores[number] for number in candidates]):
            return Evidence({"state": "off" if options.when is When.OFF else "not_suspected"})
        if UNET_ROLE not in self._entry.files:
            return _decline("no_weights")
        unet = self._load_unet()
        cost = SliceCost.count(unet, self._classifier)
        offset = PREDECESSOR_OFFSET if options.quirks.level_offset else 0.0
        process = Process(unet, self._classifier, self._shapes.process, level_offset=offset)
        plan = plan_reconstruction(options, process.schedule, self._shapes.process, cost, slices=len(candidates))
        if plan is None:
            return _decline("over_budget")
        chosen = choose_slices(options.choice, candidates, suspect.scores, plan.slices)
        slices = take_slices(suspect.prepared, chosen, suspect.grid.slice_size)
        differences = reconstruct(process, slices, plan, seed=options.seed, batch=self._batch)
        maps = Maps(slices[:, 0], differences[:, 0], chosen, suspect.grid, self._shapes.map)
        facts = describe_run(plan, options, plan.count_tflop(cost))
        return make_evidence(maps, options, question, facts, Maker.of_entry(self._entry))

    def _load_unet(self) -> UNet:
        with self._loading:
            if self._unet is None:
                unet = make_unet(self._shapes.unet, load_tensors(self._entry.get_file(UNET_ROLE), self._device))
                require_known_answer(self._entry, "noise", answer_as_unet(unet), TOLERANCE)
                self._unet = unet
            return self._unet


@dataclass(frozen=True)
class Maps:
    """Some slices (n, x, y) of the prepared volume, and how far each pixel is from healthy, both as they are scaled."""

    slices: Tensor
    differences: Tensor
    numbers: Sequence[int]
    grid: SliceGrid
    shape: MapShape

    def refine(self) -> npt.NDArray[np.float32]:
        """Return what is shown, (n, x, y) in HU."""
        hu = self.differences.numpy() * np.float32(_HU)
        return refine(hu, self.slices.numpy(), self.shape, measure_pixel(self.grid))


def make_evidence(
    maps: Maps, options: ReconstructionOptions, question: Question, run: JsonObject, maker: Maker
) -> Evidence:
    """Return statistics, map and regions; without the latter two where a difference is not a number."""
    errors = average(maps.differences)
    warnings = [StageWarning(NoticeCode.RECONSTRUCTION_SHORTENED)] if run["is_shortened"] else []
    if not bool(maps.differences.isfinite().all()):
        statistics = summarise(hide_faults(errors)) if options.quirks.hidden_faults else NOT_RUN
        declined = _decline("not_finite")
        return Evidence({**run, **declined.facts}, statistics, (), [*warnings, *declined.warnings])
    hu = maps.refine()
    regions = [
        each.to_document()
        for each in find_regions(hu, maps.numbers, maps.grid, options.regions, maps.shape.threshold_hu)
    ]
    path = question.scratch / ArtefactKind.ANOMALY_MAP.file_name
    write_anomaly_map(path, hu, maps.numbers, maps.grid, question.geometry)
    facts = {
        **run,
        "artifact": str(ArtefactKind.ANOMALY_MAP),
        "centres_lps_mm": maps.grid.locate_centres(maps.numbers).tolist(),
        "mean_differences_hu": [float(error) * _HU for error in errors],
        "regions": regions,
    }

    def render(study: RenderedStudy) -> Sequence[ProducedArtefact]:
        source, volume = study.fetch_source(), study.read_volume()
        return make_anomaly_renderings(
            AnomalyMapFile(path), volume, regions, maker=maker, source=source, scratch=question.scratch
        )

    artefact = ProducedArtefact(ArtefactKind.ANOMALY_MAP, path, MEDIA_TYPE)
    return Evidence(facts, summarise(errors), [artefact], warnings, render)


def is_wanted(options: ReconstructionOptions, scores: Sequence[float]) -> bool:
    """Return whether a study whose slices have these scores is reconstructed."""
    if options.when is When.ON_SUSPICION:
        return max(scores, default=0.0) >= options.suspicion
    return options.when is When.ALWAYS and len(scores) > 0


def choose_slices(choice: SliceChoice, candidates: Sequence[int], scores: Mapping[int, float], count: int) -> list[int]:
    """Return `count` of the candidates, rising."""
    if choice is SliceChoice.EVENLY:
        return choose_evenly(candidates, count)
    return sorted(sorted(candidates, key=lambda number: (-scores[number], number))[:count])


def describe_run(plan: Plan, options: ReconstructionOptions, tflop: float) -> JsonObject:
    """Return what was done and at what cost, as JSON values."""
    return {
        "state": "done",
        "steps": {"encoding": len(plan.encoding), "decoding": len(plan.decoding)},
        "draws": plan.draws,
        "tflop": tflop,
        "is_shortened": plan.is_shortened,
        "seed": options.seed,
        "quirks": asdict(options.quirks),
    }


def _decline(reason: str) -> Evidence:
    warning = StageWarning(NoticeCode.NOT_RECONSTRUCTED, {"reason": reason})
    return Evidence({"state": "not_done", "reason": reason}, warnings=[warning])
