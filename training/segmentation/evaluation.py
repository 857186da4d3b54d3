"""What the demo segmentation is measured by: Dice on the study's own grid, through the code of the stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from training.segmentation.examples import LabelledStudy
from training.segmentation.labels import LUNGS, PAINTED
from training.segmentation.lung_mask import AIR_HU, find_lungs
from training.supervised.reading import StudyReader, compute_study_digest
from workers.segmentation.grid import NetworkGrid
from workers.segmentation.labels import TOTAL_NAMES
from workers.segmentation.predictor import Predictor
from workers.volume import Volume
from workers.volume.label_map import Labels

_RESAMPLES = 2000
_LEAST_VOXELS = 50
"""Of an organ that a study shows less of, a Dice says nothing."""

_VERTEBRAE, _RIBS_LEFT, _RIBS_RIGHT = range(25, 51), range(92, 104), range(104, 116)


class RealFinding(NamedTuple):
    """Lungs of a real CT against those by density: Dice, what each calls lung, and what is found beyond the latter.

    The latter by what it is: air elsewhere (bowel, trachea, around the body), and tissue (borders, consolidated lung).
    """

    dice: float
    found_ml: float
    by_density_ml: float
    air_beyond_ml: float
    tissue_beyond_ml: float


@dataclass(frozen=True)
class OrganReport:
    """Dice of one organ, or mean Dice of a group of them, over the studies that show it; 95 % interval of the mean."""

    name: str
    studies: int
    mean: float
    low: float
    high: float
    least: float


def label_volume(predictor: Predictor, volume: Volume) -> Labels:
    """Return the label of each voxel on the volume's own grid, as the stage makes it."""
    grid = NetworkGrid(volume.geometry)
    depth, height, width = volume.hu.shape
    return grid.refine(predictor.label(grid.coarsen(volume.hu), lambda _share: None), (depth, height, width))


def measure_studies(predictor: Predictor, studies: Iterable[LabelledStudy]) -> Sequence[OrganReport]:
    """Return one report for each organ and group that any study shows, the lungs as a whole first."""
    measured = [measure_study(label_volume(predictor, study.volume), study.labels) for study in studies]
    names = dict.fromkeys(name for study in measured for name in study)
    return [report_organ(name, [study[name] for study in measured if name in study]) for name in names]


def measure_study(found: Labels, true: Labels) -> Mapping[str, float]:
    """Return Dice by the name of the organ or group, of those that the study shows."""
    shown = np.bincount(true.ravel(), minlength=256)
    values = {"lungs, all five lobes": compute_dice(np.isin(found, LUNGS), np.isin(true, LUNGS))}
    groups: dict[str, list[float]] = {}
    for label in PAINTED[1:]:
        if shown[label] >= _LEAST_VOXELS:
            groups.setdefault(_name_group(label), []).append(compute_dice(found == label, true == label))
    return values | {name: float(np.mean(dice)) for name, dice in groups.items()}


def compute_dice(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    """Return twice the overlap over the sum of both sizes; 1 where both are empty."""
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


def report_organ(name: str, values: Sequence[float]) -> OrganReport:
    """Return mean and interval (percentiles of means of studies drawn with replacement, seeded)."""
    dice = np.asarray(values)
    draws = np.random.default_rng(0).integers(len(dice), size=(_RESAMPLES, len(dice)))
    low, high = np.percentile(dice[draws].mean(axis=1), (2.5, 97.5))
    return OrganReport(name, len(dice), float(dice.mean()), float(low), float(high), float(dice.min()))


def measure_real(predictor: Predictor, study: Path) -> RealFinding:
    """Return how well the lungs of a real CT agree with those by density."""
    with TemporaryDirectory(prefix="ctclip-") as folder, StudyReader(Path(folder), keeps_volumes=False) as reader:
        volume = reader.read(study, compute_study_digest(study))
    found = np.isin(label_volume(predictor, volume), LUNGS)
    spacing = volume.geometry.spacing_zyx_mm
    by_density = find_lungs(volume.hu, spacing)
    beyond = volume.hu[found & ~by_density]
    counts = (found.sum(), by_density.sum(), (beyond < AIR_HU).sum(), (beyond >= AIR_HU).sum())
    found_ml, by_density_ml, air_ml, tissue_ml = (float(count * np.prod(spacing) / 1000) for count in counts)
    return RealFinding(compute_dice(found, by_density), found_ml, by_density_ml, air_ml, tissue_ml)


def _name_group(label: int) -> str:
    for name, labels in (
        ("vertebrae, mean", _VERTEBRAE),
        ("ribs on the left, mean", _RIBS_LEFT),
        ("ribs on the right, mean", _RIBS_RIGHT),
    ):
        if label in labels:
            return name
    return TOTAL_NAMES[label - 1]
