"""Do relevance maps point at the finding, and what do they cost?

    python -m benchmarks.relevance pointing --stage ct_clip      the demo model on held-out phantoms
    python -m benchmarks.relevance speed                         five findings at the published size

`pointing` is the pointing game of Zhang et al., "Top-down Neural Attention by Excitation Backprop", IJCV 2018, arXiv
1608.00507: a hit is a map whose peak lies in the finding's box. A token of the demo model is larger than many findings,
so a hit is counted as well where the peak's token touches the box. Chance is what a random place in the body would hit:
the share of the body's voxels in the box, and of its tokens that touch it. Every finding that is there counts, called
or not.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from model_weights.catalogue import CATALOGUE_FILE, ModelEntry, load_catalogue
from phantom.study import PlacedFinding, Study, make_study
from shared.artefacts import ArtefactKind
from shared.findings import FINDING_OF_LABEL
from shared.settings import WeightsProfile
from shared.stages import StageName
from training.examples import draw_settings
from training.phantoms import Prevalence, draw_findings, make_volume
from workers.ct_clip.evidence import Explainer
from workers.ct_clip.full_size_parity import make_recipe_tower
from workers.ct_clip.predictor import Predictor as CTCLIPPredictor
from workers.ct_clip.relevance import ROLE, compute_relevance, make_own_reference
from workers.ct_clip.relevance_places import find_place
from workers.ct_clip.token_grid import TokenGrid, make_token_grid
from workers.supervised.predictor import Predictor as ClassifierPredictor

_PREVALENCE = Prevalence(normal=0.0, most_findings=3)
_FIRST_SEED = 950_000
"""Beyond the seeds of every training."""

_BODY_HU = -500
_FINDINGS_AT_FULL_SIZE = 5
_ROUNDS = 5

Box = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Shot:
    """One map: whether its peak lies in the box, whether its token touches it, and how likely both are by chance."""

    finding: str
    is_called: bool
    is_inside: bool
    touches: bool
    inside_by_chance: float
    touches_by_chance: float


@dataclass(frozen=True)
class Target:
    """A study, and where its tokens and its body lie."""

    study: Study
    grid: TokenGrid
    body_lps: npt.NDArray[np.float64]
    """Positions (n, 3) of voxels of the body, a share of them."""

    def judge(self, finding: PlacedFinding, relevance: npt.NDArray[np.float32], *, is_called: bool) -> Shot | None:
        """Return how a map (x, y, slab) points at a finding; None where it is positive nowhere."""
        place = find_place(relevance, self.grid, make_volume(self.study).geometry)
        if place is None:
            return None
        half = np.asarray(finding.extent_mm) / 2
        box = (np.asarray(finding.centre_lps_mm) - half, np.asarray(finding.centre_lps_mm) + half)
        reach = np.abs(self.grid.to_lps[:3, :3]).sum(axis=1) / 2  # half of a token, along x, y, z
        peak = np.asarray(place.peak_lps_mm)
        return Shot(
            finding.name,
            is_called,
            is_inside=bool(_is_inside(peak, box)),
            touches=bool(_is_inside(self._snap(peak), (box[0] - reach, box[1] + reach))),
            inside_by_chance=float(_is_inside(self.body_lps, box).mean()),
            touches_by_chance=float(_is_inside(self._snap(self.body_lps), (box[0] - reach, box[1] + reach)).mean()),
        )

    def _snap(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the centres of the tokens in which points lie."""
        matrix, origin = self.grid.to_lps[:3, :3], self.grid.to_lps[:3, 3]
        tokens = np.rint((points - origin) @ np.linalg.inv(matrix).T)
        snapped: npt.NDArray[np.float64] = tokens @ matrix.T + origin
        return snapped


def _is_inside(points: npt.NDArray[np.float64], box: Box) -> npt.NDArray[np.bool_]:
    return np.asarray(((points >= box[0]) & (points <= box[1])).all(axis=-1))


def _find_body(study: Study) -> npt.NDArray[np.float64]:
    """Return positions (n, 3) of every 64th voxel or so of the largest thing that is no air, its holes filled."""
    coarse = study.hu[::2, ::4, ::4] > _BODY_HU
    labels, _ = ndimage.label(coarse)
    body = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in body])
    z, y, x = np.nonzero(filled)
    affine = make_volume(study).geometry.compute_affine_lps()
    points: npt.NDArray[np.float64] = np.stack([x * 4, y * 4, z * 2], axis=-1) @ affine[:3, :3].T + affine[:3, 3]
    return points


def _name_labels(entry: ModelEntry) -> Mapping[str, int]:
    """Return, for each finding of the phantom that the model has a label for, the label's number."""
    canonical = {
        label: FINDING_OF_LABEL[(entry.stage, label)].labels.get(StageName.MEDNEXT)
        for label in entry.labels
        if (entry.stage, label) in FINDING_OF_LABEL
    }
    return {name: entry.labels.index(label) for label, name in canonical.items() if name is not None}


def play(entry: ModelEntry, studies: int) -> Mapping[str, list[Shot]]:
    """Return the shots with the healthy reference, where the entry has one, and without."""
    kinds = {
        StageName.CT_CLIP: (CTCLIPPredictor, ArtefactKind.CT_CLIP_RELEVANCE),
        StageName.SUPERVISED: (ClassifierPredictor, ArtefactKind.SUPERVISED_RELEVANCE),
    }
    make, kind = kinds[entry.stage]
    predictor = make(entry, torch.device("cpu"))
    bare = replace(entry, files={role: file for role, file in entry.files.items() if role != ROLE})
    explainers = {"own_columns": Explainer(bare, predictor.explainer.tower, kind)}
    if ROLE in entry.files:
        explainers["healthy"] = predictor.explainer
    labels = _name_labels(entry)
    shots: dict[str, list[Shot]] = {name: [] for name in explainers}
    for seed in range(_FIRST_SEED, _FIRST_SEED + studies):
        study = make_study(seed, draw_findings(seed, _PREVALENCE), draw_settings(seed))
        found = [finding for finding in study.findings if finding.name in labels]
        if not found:
            continue
        numbers = [labels[finding.name] for finding in found]
        volume = make_volume(study)
        encoding = predictor.encode(predictor.prepare(volume))
        probabilities = predictor.score(encoding)[0]
        shape = predictor.explainer.tower.encoder.shape
        size = volume.hu.shape
        grid = make_token_grid(volume.geometry, (size[0], size[1], size[2]), predictor.preprocessing, shape)
        target = Target(study, grid, _find_body(study))
        for name, explainer in explainers.items():
            maps = explainer.compute_relevance(encoding.codes[0], numbers, predictor.direct).maps
            for finding, number, relevance in zip(found, numbers, maps.permute(0, 2, 3, 1).numpy(), strict=True):
                threshold = entry.thresholds.get(entry.labels[number], 0.5)
                shot = target.judge(finding, relevance, is_called=float(probabilities[number]) >= threshold)
                shots[name] += [] if shot is None else [shot]
    return shots


def _tabulate(shots: Sequence[Shot]) -> Iterator[str]:
    yield "| Finding | Maps | Peak in the box | By chance | Token touches the box | By chance |"
    yield "|---|---|---|---|---|---|"
    by_finding: dict[str, list[Shot]] = defaultdict(list)
    for shot in shots:
        by_finding[shot.finding].append(shot)
    for name, group in [*by_finding.items(), ("all", list(shots)), ("all called", [s for s in shots if s.is_called])]:
        if group:
            inside, by_chance = fmean(s.is_inside for s in group), fmean(s.inside_by_chance for s in group)
            touches, touches_by_chance = fmean(s.touches for s in group), fmean(s.touches_by_chance for s in group)
            yield (
                f"| {name} | {len(group)} | {inside:.2f} | {by_chance:.2f} | {touches:.2f} | {touches_by_chance:.2f} |"
            )


def measure_speed() -> Mapping[str, float]:
    """Return median seconds for five findings at the published size, on random weights and codes."""
    tower = make_recipe_tower()
    codes = torch.randint(tower.encoder.shape.codebook_size, (24, 24, 24))
    directions = torch.randn(_FINDINGS_AT_FULL_SIZE, tower.projection.out_features)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        with torch.inference_mode():
            compute_relevance(tower, codes, directions, make_own_reference(tower.encoder.code_book, codes))
        seconds.append(time.perf_counter() - started)
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) / 1024
    return {"median_s": median(seconds), "first_s": seconds[0], "peak_grown_mib": grown_mib}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one of both and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["pointing", "speed"])
    parser.add_argument("--stage", type=StageName, default=StageName.CT_CLIP, help="ct_clip or supervised")
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--catalogue", type=Path, default=CATALOGUE_FILE)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.what == "speed":
        print(json.dumps(measure_speed(), indent=2))
        return
    wanted = (WeightsProfile.DEMO, options.stage)
    entries = load_catalogue(options.catalogue)
    entry = next(each for each in entries if (each.weights_profile, each.stage) == wanted)
    for name, shots in play(entry, options.studies).items():
        print(f"\n{entry.name} {entry.version}, reference: {name}\n", *_tabulate(shots), sep="\n")


if __name__ == "__main__":
    main()
