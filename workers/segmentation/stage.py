"""The segmentation stage: volume in, one label map of all organs out, and what it says of each of them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from model_weights.catalogue import ModelEntry, find_installed
from model_weights.loading import verified_by_the_end
from model_weights.policies.lung_check import LungCheck, read_lung_check
from shared.artefacts import ArtefactKind
from shared.errors import Defect
from shared.json_values import JsonObject
from shared.problems import Problem
from shared.settings import Settings
from shared.stages import StageName
from workers.device import choose_device
from workers.model_host.device_faults import translated_device_faults
from workers.model_host.host import ModelHost, get_host
from workers.model_host.measuring import told_loading, told_prediction
from workers.model_stage import describe_run
from workers.renderings import Maker, fetch_source, make_mask_renderings
from workers.runtime.stage import ProducedArtefact, Stage, StageContext, StageOutput, StageWarning
from workers.segmentation.grid import NetworkGrid
from workers.segmentation.labels import TOTAL_NAMES
from workers.segmentation.lungs import LungExtent, count_lung_pixels, measure_lungs
from workers.segmentation.measuring import OrganMeasurement, measure_organs, name_features
from workers.segmentation.predictor import Predictor
from workers.volume import VolumeFile
from workers.volume.artefact import CHUNK_SLICES
from workers.volume.label_map import MEDIA_TYPE, Labels, write_label_map

SEGMENTER: JsonObject = {"name": "TotalSegmentator", "version": "2.18.0", "task": "total", "mode": "fast"}
"""Whose label map ours is. Its resampling differs between releases, so another version is another segmenter."""

_COARSENED, _LABELLED = 0.1, 0.9
"""Shares of the work that are done once the volume is at the network's spacing, and once every window is labelled."""

_REPORT_EVERY_S = 1.0


class SegmentationStage:
    """Runs the installed segmentation network on the volume of a job."""

    name = StageName.SEGMENTATION

    def __init__(self, entry: ModelEntry, predictor: Predictor, host: ModelHost) -> None:
        self._entry = entry
        self._predictor = predictor
        self._host = host

    def admit(self, shape_zyx: tuple[int, int, int]) -> AbstractContextManager[bool]:
        """Set aside what a volume of this shape will take; False inside where memory is too short for it now."""
        return self._host.memory.admit(self._predictor.predict_memory(shape_zyx))

    def run(self, context: StageContext) -> StageOutput:
        """Return masks and measurements of the study.

        Raises StaleLease when the work is no longer wanted, Unanswerable when this worker has too little memory.
        """
        timings: dict[str, float] = {}
        file = VolumeFile(context.fetch_artefact(ArtefactKind.VOLUME))
        self._host.memory.require_possible(self._predictor.predict_memory(file.shape))
        labels = self._label(file, context, timings)
        with _timed(timings, "measure_s"):
            organs = measure_organs(labels, _read_slabs(file), file.geometry.spacing_zyx_mm)
            lungs = measure_lungs(count_lung_pixels(labels), file.geometry.spacing_zyx_mm[0])
        problem = lungs.find_problem()
        if problem is not None and read_lung_check(context.policy) is LungCheck.REJECT:
            return StageOutput(facts=self._describe(organs, lungs, timings), rejection=problem)
        with _timed(timings, "render_s"):
            artefacts = (self._keep(labels, file, context), *self._render(labels, file, context))
        return StageOutput(
            features=name_features(organs),
            artefacts=artefacts,
            warnings=[] if problem is None else [_make_warning(problem, lungs)],
            facts=self._describe(organs, lungs, timings),
        )

    def _describe(self, organs: Sequence[OrganMeasurement], lungs: LungExtent, timings: JsonObject) -> JsonObject:
        return {**describe_findings(organs, lungs), **describe_run(self._entry, timings)}

    def _label(self, file: VolumeFile, context: StageContext, timings: dict[str, float]) -> Labels:
        """Return the labels on the volume's grid."""
        grid = NetworkGrid(file.geometry)
        with _timed(timings, "prepare_s"):
            coarse = grid.coarsen(file.read().hu)
        with ExitStack() as turn:
            with _timed(timings, "wait_s"):
                turn.enter_context(self._host.take_turn())
            with _timed(timings, "predict_s"), told_prediction(self.name), exits_told(), translated_device_faults():
                labels = self._predictor.label(coarse, _Progress(context).tell)
        with _timed(timings, "refine_s"):
            return grid.refine(labels, file.shape)

    def _keep(self, labels: Labels, file: VolumeFile, context: StageContext) -> ProducedArtefact:
        path = context.scratch / ArtefactKind.MASKS
        weights = {"name": self._entry.name, "version": self._entry.version, "digest": self._entry.digest}
        facts: dict[str, Any] = {"segmenter": SEGMENTER, "weights": weights}
        digest = write_label_map(path, labels, file.geometry, facts)
        return ProducedArtefact(ArtefactKind.MASKS, path, MEDIA_TYPE, {**facts, "content_sha256": digest})

    def _render(self, labels: Labels, file: VolumeFile, context: StageContext) -> tuple[ProducedArtefact, ...]:
        return make_mask_renderings(
            labels,
            file.read(),
            dict(enumerate(TOTAL_NAMES, 1)),
            maker=Maker.of_entry(self._entry),
            source=fetch_source(context),
            scratch=context.scratch,
        )


class _Progress:
    """Tells the runtime how far the windows are, now and then, and so learns whether the work is still wanted."""

    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._told_at = -_REPORT_EVERY_S

    def tell(self, share: float) -> None:
        """Report the share of windows that are done. Raises StaleLease when the work is no longer wanted."""
        now = time.monotonic()
        if now - self._told_at >= _REPORT_EVERY_S or share >= 1:
            self._context.report(_COARSENED + (_LABELLED - _COARSENED) * share)
            self._told_at = now


def make_stage(settings: Settings) -> Stage | None:
    """Return the stage, its network loaded, warm and checked; None when no segmentation network is installed."""
    entry = find_installed(settings, StageName.SEGMENTATION)
    if entry is None:
        return None
    torch.backends.cudnn.allow_tf32 = False  # float32 means float32
    torch.set_num_threads(settings.threads or os.cpu_count() or 1)
    with told_loading(entry), verified_by_the_end():
        predictor = Predictor(entry, choose_device())
    return SegmentationStage(entry, predictor, get_host())


def describe_findings(organs: Sequence[OrganMeasurement], lungs: LungExtent) -> dict[str, Any]:
    """Return what the facts say of the organs: each that is there, those that are cut off, those that are not there."""
    present = {organ.name: organ.describe() for organ in organs}
    return {
        "segmenter": SEGMENTER,
        "organs": present,
        "truncated": [organ.name for organ in organs if organ.is_truncated],
        "absent": [name for name in TOTAL_NAMES if name not in present],
        "lungs": lungs.describe(),
    }


@contextmanager
def exits_told() -> Iterator[None]:
    """Raise a Defect where a library wants to end the process."""
    try:
        yield
    except SystemExit as exit_:
        raise Defect(f"the segmentation library wanted to end the process with {exit_.code!r}") from exit_


@contextmanager
def _timed(timings: dict[str, float], step: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    timings[step] = time.monotonic() - started


def _read_slabs(file: VolumeFile) -> Iterator[npt.NDArray[np.int16]]:
    return (file.read_slices(start, start + CHUNK_SLICES) for start in range(0, file.shape[0], CHUNK_SLICES))


def _make_warning(problem: Problem, lungs: LungExtent) -> StageWarning:
    return StageWarning("lungs_short_in_masks", {"problem": str(problem.code), **lungs.describe()})
