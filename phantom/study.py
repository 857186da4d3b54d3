"""One synthetic chest CT with its ground truth, made from a seed.

The same seed gives the same patient and the same noise whichever findings are put in, so a study with a finding and
the study without it differ by the finding only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from phantom.anatomy.chest import Chest, Concern, measure_chest, paint_chest
from phantom.anatomy.plan import BodyPlan, draw_plan
from phantom.anatomy.vessel_tree import grow_tree
from phantom.canvas import Canvas, Grid, Labels, Point
from phantom.distractors.distractor import Distractor
from phantom.distractors.registry import DISTRACTORS, draw_distractors
from phantom.fields import draw, make_generator
from phantom.findings.finding import Finding, PlacedFinding, Site
from phantom.findings.registry import FINDINGS, REGISTRY
from phantom.gantry import find_corner, lean_planes
from phantom.scanner import PADDING_HU, draw_scanner, pad_outside, scan
from phantom.settings import PhantomSettings

__all__ = ["DISTRACTORS", "FINDINGS", "PhantomSettings", "PlacedFinding", "Study", "make_study"]

_BELOW_MM, _ABOVE_MM = 82.0, 32.0


@dataclass(frozen=True)
class Study:
    """A chest CT: `hu` int16 and `labels` uint8 (TotalSegmentator's numbers), both (z, y, x) with ascending z in LPS.

    `origin_lps_mm` is the centre of voxel (0, 0, 0) as (x, y, z). `padding_hu` marks voxels outside of the circle of
    reconstruction, where the settings ask for it. Planes lean by `gantry_tilt_degrees` (`phantom.gantry`): the spacing
    along z is that of the table, the corners of all planes lie on one line along z, and labels lean as the HU do.
    """

    seed: int
    hu: npt.NDArray[np.int16]
    spacing_zyx_mm: Point
    origin_lps_mm: Point
    labels: Labels
    findings: tuple[PlacedFinding, ...]
    kernel: str
    manufacturer: str
    slice_thickness_mm: float
    tube_voltage_kv: int
    age_years: int
    is_male: bool
    distractors: tuple[str, ...] = ()
    padding_hu: int | None = field(default=None)
    gantry_tilt_degrees: float = 0.0


def make_study(seed: int, findings: Sequence[str], settings: PhantomSettings) -> Study:
    """Make the study of a seed with the named findings (`FINDINGS`); the order of the names does not matter.

    Raises ValueError for an unknown or repeated name.
    """
    chosen = _choose(findings)
    healthy, distractors = _draw_patient(seed, settings)
    tilt = draw(make_generator(seed, Concern.GANTRY), settings.gantry_tilt_degrees)
    grid = _draw_grid(healthy, settings, make_generator(seed, Concern.GEOMETRY), tilt)
    streams = {f.name: make_generator(seed, Concern.FINDINGS, FINDINGS.index(f.name)) for f in chosen}
    severities = {name: draw(stream, settings.severity) for name, stream in streams.items()}
    plan = healthy
    for finding in chosen:
        if finding.change:
            plan = finding.change(plan, severities[finding.name], streams[finding.name])
    canvas, chest = _paint_patient(grid, healthy, plan, seed)
    _paint_distractors(canvas, chest, seed, [each for each in distractors if not each.is_artefact])
    placed = tuple(
        f.paint(Site(canvas, chest, severities[f.name], streams[f.name])).place(f.name, severities[f.name])
        for f in chosen
    )
    _paint_distractors(canvas, chest, seed, [each for each in distractors if each.is_artefact])
    study = _scan_study(seed, canvas, healthy, settings, placed, tilt=tilt)
    return replace(study, distractors=tuple(distractor.name for distractor in distractors))


def _draw_patient(seed: int, settings: PhantomSettings) -> tuple[BodyPlan, tuple[Distractor, ...]]:
    plan = draw_plan(make_generator(seed, Concern.PLAN), settings.contrast_share, settings.anatomy)
    drawn = draw_distractors(plan, settings.distractor_share, make_generator(seed, Concern.DISTRACTORS))
    for distractor in drawn:
        if distractor.change:
            plan = distractor.change(plan, _make_stream(seed, distractor))
    return plan, drawn


def _paint_patient(grid: Grid, healthy: BodyPlan, plan: BodyPlan, seed: int) -> tuple[Canvas, Chest]:
    canvas = Canvas(grid)
    chest = measure_chest(canvas, healthy, seed)
    # The vessels of the lungs grow in the healthy chest, so that a large heart does not move those far from it.
    twigs = grow_tree(healthy, chest.lungs, make_generator(seed, Concern.VESSELS))
    if plan != healthy:
        chest = measure_chest(canvas, plan, seed)
    paint_chest(canvas, chest, twigs, seed)
    return canvas, chest


def _paint_distractors(canvas: Canvas, chest: Chest, seed: int, distractors: Sequence[Distractor]) -> None:
    for distractor in distractors:
        if distractor.paint:
            distractor.paint(Site(canvas, chest, 0.5, _make_stream(seed, distractor)))


def _make_stream(seed: int, distractor: Distractor) -> np.random.Generator:
    return make_generator(seed, Concern.DISTRACTORS, DISTRACTORS.index(distractor.name))


def _scan_study(
    seed: int,
    canvas: Canvas,
    plan: BodyPlan,
    settings: PhantomSettings,
    placed: tuple[PlacedFinding, ...],
    *,
    tilt: float,
) -> Study:
    grid = canvas.grid
    scanner = draw_scanner(settings, grid.spacing_zyx_mm[0], make_generator(seed, Concern.SCANNER))
    hu = scan(lean_planes(canvas.hu, grid, tilt), grid, scanner, make_generator(seed, Concern.NOISE))
    if settings.has_padding:
        pad_outside(hu, grid)
    return Study(
        seed=seed,
        hu=hu,
        spacing_zyx_mm=grid.spacing_zyx_mm,
        origin_lps_mm=find_corner(grid, tilt),
        labels=lean_planes(canvas.labels, grid, tilt),
        findings=placed,
        kernel=scanner.kernel.name,
        manufacturer=scanner.kernel.manufacturer,
        slice_thickness_mm=scanner.slice_thickness_mm,
        tube_voltage_kv=scanner.tube_voltage_kv,
        age_years=plan.age_years,
        is_male=plan.is_male,
        padding_hu=PADDING_HU if settings.has_padding else None,
        gantry_tilt_degrees=tilt,
    )


def _choose(names: Sequence[str]) -> list[Finding]:
    unknown = sorted(set(names) - set(REGISTRY))
    if unknown:
        raise ValueError(f"no finding named {', '.join(unknown)}; there are {', '.join(FINDINGS)}")
    if len(set(names)) != len(names):
        raise ValueError(f"a finding is named twice in {', '.join(names)}")
    return [finding for name, finding in REGISTRY.items() if name in names]


def _draw_grid(plan: BodyPlan, settings: PhantomSettings, rng: np.random.Generator, tilt: float) -> Grid:
    heights = np.linspace(-_BELOW_MM, plan.apex_mm, 24, dtype=np.float32)
    half_width, half_depth, *_ = (float(each.max()) for each in plan.compute_body(heights))
    width = 2 * half_width * draw(rng, (1.04, 1.14))
    pixel = round(width / settings.matrix, 6)
    step = round(draw(rng, settings.slice_spacing_mm), 2)
    # Leaning planes see the front and the back at other heights: the scan begins earlier and ends later.
    rise = half_depth * math.sin(math.radians(abs(tilt)))
    bottom = round(-(_BELOW_MM + draw(rng, (0, 14))) * plan.scale_xyz[2] - rise, 2)
    slices = int(np.ceil((plan.apex_mm + _ABOVE_MM + rise - bottom) / step))
    half = (settings.matrix - 1) / 2 * pixel
    origin = (round(draw(rng, (-9, 9)) - half, 4), round(draw(rng, (-4, 12)) - half, 4), bottom)
    return Grid((slices, settings.matrix, settings.matrix), (step, pixel, pixel), origin)
