"""The body plan: everything about a patient's anatomy that is drawn before a voxel is painted.

Positions are written for a reference patient (LPS, millimetres; z = 0 at the dome of the right diaphragm, apex of the
lungs at 230, carina at 135, middle of the chest at x = 0, y = 0) and carried into this patient by `BodyPlan.place`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from phantom.canvas import Floats, Point
from phantom.fields import draw

CAGE_HALF_WIDTH_MM = 132.0
CAGE_HALF_DEPTH_MM = 86.0
APEX_MM = 230.0
VERTEBRA_PITCH_MM = 24.0
T5_CENTRE_MM = 137.0
CAGE_EXPONENT = 2.35
BODY_EXPONENT = 2.45


@dataclass(frozen=True)
class BodyPlan:
    """One patient. Scales are relative to the reference patient; HU are those of this scan."""

    scale_xyz: Point
    fat_mm: float
    muscle: float
    breast_mm: float
    heart_scale: float
    heart_turn_deg: float
    epicardial_fat_mm: float
    aorta_scale: float
    left_dome_mm: float
    lung_hu: float
    lung_gradient_hu_per_mm: float
    blood_hu: float
    aorta_hu: float
    liver_hu: float
    bone_density: float
    kyphosis_mm: float
    rib_drop_mm: float
    age_years: int
    is_male: bool
    compressed_vertebra: int | None = None
    compression: float = 0.0
    aneurysm_site: str | None = None
    aneurysm: float = 0.0

    def place(self, x: float, y: float, z: float) -> Point:
        """Carry a position of the reference patient into this one."""
        return (x * self.scale_xyz[0], y * self.scale_xyz[1], z * self.scale_xyz[2])

    def place_all(self, *points: Point) -> list[Point]:
        """Carry several positions."""
        return [self.place(*point) for point in points]

    @property
    def scale(self) -> float:
        """Mean scale, for sizes that have no direction."""
        return float(np.prod(self.scale_xyz) ** (1 / 3))

    @property
    def apex_mm(self) -> float:
        """Height of the lung apices."""
        return APEX_MM * self.scale_xyz[2]

    def compute_cage(self, z: Floats) -> tuple[Floats, Floats, Floats]:
        """Return half-width, half-depth and y of the middle of the pleural cage at heights z."""
        t = np.clip(z / np.float32(self.apex_mm), -0.6, 1.4)
        closing = np.clip((t - 0.42) / 0.58, 0, 1.6)
        width = CAGE_HALF_WIDTH_MM * self.scale_xyz[0] * (1 - 0.50 * closing**1.9) * (1 - 0.03 * np.clip(-t, 0, 1))
        depth = CAGE_HALF_DEPTH_MM * self.scale_xyz[1] * (1 - 0.38 * closing**1.7)
        middle = self.scale_xyz[1] * 12.0 * np.clip(t - 0.3, 0, 1.1)
        return (
            np.maximum(width, 30.0).astype(np.float32),
            np.maximum(depth, 30.0).astype(np.float32),
            middle.astype(np.float32),
        )

    def compute_body(self, z: Floats) -> tuple[Floats, Floats, Floats]:
        """Return half-width, half-depth and y of the middle of the skin at heights z (arms raised)."""
        t = z / np.float32(self.apex_mm)
        wall = 20.0 + 9.0 * self.muscle
        width = CAGE_HALF_WIDTH_MM * self.scale_xyz[0] + wall + self.fat_mm
        depth = CAGE_HALF_DEPTH_MM * self.scale_xyz[1] + 24.0 + 5.0 * self.muscle + 0.8 * self.fat_mm
        shoulder = 1 + 0.09 * np.exp(-(((t - 0.95) / 0.25) ** 2))
        neck = np.clip((t - 1.02) / 0.55, 0, 1)
        half_width = width * shoulder * (1 - 0.5 * neck * neck * (3 - 2 * neck))
        half_depth = depth * (1 - 0.22 * np.clip(t - 0.5, 0, 1) - 0.25 * neck)
        middle = 4.0 + 18.0 * np.clip(t - 0.5, 0, 1)
        return half_width.astype(np.float32), half_depth.astype(np.float32), middle.astype(np.float32)

    def compute_spine_y(self, z: Floats) -> Floats:
        """Return y of the middle of the vertebral bodies at heights z."""
        t = (z - 95.0 * self.scale_xyz[2]) / (150.0 * self.scale_xyz[2])
        return np.asarray(self.scale_xyz[1] * 60.0 - self.kyphosis_mm * np.clip(t * t, 0, 2.2), dtype=np.float32)

    def find_vertebra_z(self, number: int) -> float:
        """Return the height of the middle of thoracic vertebra 1 to 12 (13 is L1, 0 is C7)."""
        return (T5_CENTRE_MM + (5 - number) * VERTEBRA_PITCH_MM) * self.scale_xyz[2]

    def with_changes(self, **changes: float | str | None) -> BodyPlan:
        """Return the plan with some fields replaced; what findings of shape and size use."""
        return replace(self, **changes)  # type: ignore[arg-type]  # names are those of the fields


@dataclass(frozen=True)
class AnatomyRanges:
    """Which patients come: what `draw_plan` draws from where populations differ. Pairs are drawn from evenly.

    `height` is relative to the reference patient. `habitus` gives the parameters of a beta distribution, from slim (0)
    to obese (1); lungs that hold less air, as at a shallow breath, have a higher `lung_hu`.
    """

    height: float = 0.95
    habitus: tuple[float, float] = (1.6, 2.6)
    heart_scale: tuple[float, float] = (0.93, 1.05)
    lung_hu: tuple[float, float] = (-885.0, -835.0)
    kyphosis_mm: tuple[float, float] = (4.0, 13.0)
    age_years: tuple[int, int] = (24, 86)


def draw_plan(rng: np.random.Generator, contrast_share: float, ranges: AnatomyRanges | None = None) -> BodyPlan:
    """Draw a patient: habitus, proportions, organ sizes and densities."""
    ranges = ranges or AnatomyRanges()
    size, width, depth, height = rng.normal(0, (0.045, 0.03, 0.05, 0.045))
    habitus = rng.beta(*ranges.habitus)
    is_male = bool(rng.random() < 0.55)
    blood = draw(rng, (36, 48))
    has_contrast = rng.random() < contrast_share
    enhanced = draw(rng, (140, 260))
    scales = np.clip((1 + size + width, 1 + size + depth, ranges.height + size + height), 0.84, 1.14)
    return BodyPlan(
        scale_xyz=(float(scales[0]), float(scales[1]), float(scales[2])),
        fat_mm=5.0 + 30.0 * habitus,
        muscle=draw(rng, (0.3, 1.0)) * (1.0 if is_male else 0.7),
        breast_mm=0.0 if is_male else 14.0 + 30.0 * habitus + draw(rng, (0, 8)),
        heart_scale=draw(rng, ranges.heart_scale),
        heart_turn_deg=draw(rng, (-10, 12)),
        epicardial_fat_mm=1.5 + 4.0 * habitus,
        aorta_scale=draw(rng, (0.9, 1.1)),
        left_dome_mm=draw(rng, (-16, -4)),
        lung_hu=draw(rng, ranges.lung_hu),
        lung_gradient_hu_per_mm=draw(rng, (0.2, 0.5)),
        blood_hu=blood + (0.8 * enhanced if has_contrast else 0),
        aorta_hu=blood + (enhanced if has_contrast else 0),
        liver_hu=draw(rng, (42, 64)) + (40 if has_contrast else 0),
        bone_density=draw(rng, (0.75, 1.2)),
        kyphosis_mm=draw(rng, ranges.kyphosis_mm),
        rib_drop_mm=draw(rng, (88, 112)),
        age_years=int(rng.integers(*ranges.age_years)),
        is_male=is_male,
    )
