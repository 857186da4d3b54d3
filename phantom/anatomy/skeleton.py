"""Spine, ribs, sternum, clavicles, scapulae and humeri, with cortex, marrow and cartilage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from phantom.anatomy.plan import T5_CENTRE_MM, VERTEBRA_PITCH_MM, BodyPlan
from phantom.anatomy.trunk import FAT_HU, MUSCLE_HU, Trunk
from phantom.canvas import Box, Canvas, Floats, Point
from phantom.shapes import Ellipsoid, Tube, make_rotation, make_tube

CORTEX_HU, MARROW_HU, CARTILAGE_HU, DISC_HU, CORD_HU, FLUID_HU = 620.0, 170.0, 95.0, 75.0, 38.0, 8.0
RIB_LEFT_1, RIB_RIGHT_1, VERTEBRA_T12, STERNUM, CARTILAGES, CORD = 92, 104, 32, 116, 117, 79
SCAPULA_LEFT, SCAPULA_RIGHT, CLAVICLE_LEFT, CLAVICLE_RIGHT, HUMERUS_LEFT, HUMERUS_RIGHT = 71, 72, 73, 74, 69, 70
MUSCLE_BACK_LEFT, MUSCLE_BACK_RIGHT = 86, 87
_RIB_LAYER_MM = 5.5


@dataclass(frozen=True)
class Spine:
    """The box of the spine with, for each voxel, the distance to the column of the vertebral bodies."""

    box: Box
    to_column: Floats


def measure_spine(canvas: Canvas, plan: BodyPlan) -> Spine:
    """Compute distances to the column of vertebral bodies; lungs keep away from it."""
    middle = 60.0 * plan.scale_xyz[1]
    box = canvas.grid.make_box((-62, middle - 75, -np.inf), (62, middle + 75, np.inf))
    depth = box.y - plan.compute_spine_y(box.z)
    growth = plan.scale * (1 - 0.16 * np.clip(box.z / np.float32(plan.apex_mm), -0.3, 1.2))
    length = np.sqrt((box.x / (18.5 * growth)) ** 2 + (depth / (14.5 * growth)) ** 2)
    return Spine(box, np.asarray((length - 1) * 16.0 * growth, dtype=np.float32))


def paint_spine(canvas: Canvas, plan: BodyPlan, spine: Spine) -> None:
    """Paint the long muscles of the back, vertebrae, discs, arches, canal and cord."""
    box = spine.box
    depth = box.y - plan.compute_spine_y(box.z)
    _paint_back_muscles(canvas, box, depth)
    number = T5_CENTRE_MM / VERTEBRA_PITCH_MM + 5 - box.z / np.float32(VERTEBRA_PITCH_MM * plan.scale_xyz[2])
    nearest = np.round(number)
    # From the middle of the vertebra: 0; at the middle of a disc: half a pitch.
    offset = np.abs(number - nearest) * np.float32(VERTEBRA_PITCH_MM * plan.scale_xyz[2])
    half_height = _compute_half_height(plan, nearest, depth)
    waist = np.float32(1.6) * np.clip(1 - (offset / 8.0) ** 2, 0, 1)
    bone = np.maximum(spine.to_column + waist, offset - half_height)
    labels = _number_vertebrae(nearest)
    canvas.paint(box, spine.to_column, DISC_HU)
    _paint_bone(canvas, box, bone, plan, 1.5)
    _mark(canvas, box, bone < 0, labels)
    _paint_arches(canvas, plan, box, depth=depth, offset=offset, labels=labels)


def paint_ribs(canvas: Canvas, plan: BodyPlan, trunk: Trunk) -> None:
    """Paint all ribs at once: they are periodic along the height once their drop to the front is taken out."""
    layer = np.abs(trunk.to_cage - np.float32(_RIB_LAYER_MM))
    z_index, y_index, x_index = np.nonzero(layer < 6.0 + canvas.grid.edge_mm)
    x, y, z = (
        axis.ravel()[index]
        for axis, index in zip((trunk.box.x, trunk.box.y, trunk.box.z), (x_index, y_index, z_index), strict=True)
    )
    turn = np.arctan2(np.abs(x), y * np.float32(1.35))  # 0 at the spine, pi at the sternum
    pitch = np.float32(VERTEBRA_PITCH_MM * plan.scale_xyz[2])
    number = (
        T5_CENTRE_MM / VERTEBRA_PITCH_MM + 5 - (z + plan.rib_drop_mm * (turn / np.float32(2.85)) ** 1.3 - 4.0) / pitch
    )
    nearest = np.round(number)
    across = np.abs(number - nearest) * pitch
    distance = np.hypot(across / 6.6, layer[z_index, y_index, x_index] / 3.9) - 1
    distance *= np.float32(4.6)
    end = np.where(nearest > 10, 1.6, 2.25 - 0.03 * nearest)  # where bone turns into cartilage; 11 and 12 float
    exists = (nearest >= 1) & (nearest <= 12) & (turn > 0.30) & ((nearest <= 10) | (turn < end)) & (turn < 2.85)
    distance[~exists] = 50.0
    _paint_rib_voxels(canvas, plan, trunk, (z_index, y_index, x_index), (distance, turn > end, nearest, x > 0))


def _paint_rib_voxels(
    canvas: Canvas,
    plan: BodyPlan,
    trunk: Trunk,
    index: tuple[np.ndarray, np.ndarray, np.ndarray],
    ribs: tuple[Floats, np.ndarray, Floats, np.ndarray],
) -> None:
    distance, is_cartilage, number, is_left = ribs
    hu, labels = canvas.hu[trunk.box.slices], canvas.labels[trunk.box.slices]
    outer = canvas.cover(distance)
    inner = canvas.cover(distance + np.float32(2.0))
    bone = CORTEX_HU * plan.bone_density + inner * (MARROW_HU - CORTEX_HU) * plan.bone_density
    target = np.where(is_cartilage, CARTILAGE_HU, bone)
    values = hu[index]
    hu[index] = values + outer * (target - values)
    rib = np.where(is_left, RIB_LEFT_1, RIB_RIGHT_1) + np.clip(number - 1, 0, 11)
    inside = outer > 0.5
    labels[tuple(axis[inside] for axis in index)] = np.where(is_cartilage, CARTILAGES, rib)[inside]


def paint_shoulders(canvas: Canvas, plan: BodyPlan) -> None:
    """Paint sternum, clavicles, scapulae with their muscles, and the heads of the humeri."""
    top = plan.apex_mm
    half_width, half_depth, middle = plan.compute_cage(np.asarray([0.3 * top, 0.78 * top], dtype=np.float32))
    front_low, front_high = (float(m - d) for m, d in zip(middle, half_depth, strict=True))
    sternum = make_tube([(0, front_low - 6, 0.18 * top), (0, front_high - 6, 0.80 * top)], [8.0, 10.0])
    for dx in (-9.0, 0.0, 9.0):
        _paint_bone_tube(canvas, plan, Tube(sternum.points + np.asarray((dx, 0, 0)), sternum.radii * 0.8), STERNUM)
    for side in (-1, 1):
        _paint_scapula(canvas, plan, side, float(half_width[1]))
        points: list[Point] = [
            (side * 22, front_high - 4, 0.83 * top),
            (side * 70, front_high + 6, 0.93 * top),
            (side * 140 * plan.scale_xyz[0], front_high + 42, 1.02 * top),
        ]
        clavicle = make_tube(points, [8.0, 5.5, 6.5], steps=3)
        _paint_bone_tube(canvas, plan, clavicle, CLAVICLE_LEFT if side > 0 else CLAVICLE_RIGHT)


def _paint_scapula(canvas: Canvas, plan: BodyPlan, side: int, cage_half_width: float) -> None:
    top = plan.apex_mm
    rotation = make_rotation(yaw_deg=-side * 40, pitch_deg=side * 8)
    centre = (side * (0.80 * cage_half_width + 18), 76.0 * plan.scale_xyz[1], 0.74 * top)
    for shift, radii in (((3, -9, 0), (46.0, 11.0, 62.0)), ((2, 11, 4), (46.0, 10.0, 58.0))):
        muscle = Ellipsoid((centre[0] + side * shift[0], centre[1] + shift[1], centre[2] + shift[2]), radii, rotation)
        box = muscle.make_box(canvas.grid)
        if not box.is_empty:
            _paint_over_fat(canvas, box, muscle.compute_distance(box), MUSCLE_HU)
    blade = Ellipsoid(centre, (36.0, 2.4, 62.0), rotation)
    box = blade.make_box(canvas.grid)
    if not box.is_empty:
        label = SCAPULA_LEFT if side > 0 else SCAPULA_RIGHT
        canvas.paint(box, blade.compute_distance(box), 430 * plan.bone_density, label=label)
    head = (side * (cage_half_width + 58), 24.0 * plan.scale_xyz[1], 1.04 * top)
    arm = make_tube([head, (side * (cage_half_width + 70), 6.0, 1.45 * top)], [21.0, 13.0])
    arm.paint(canvas, MUSCLE_HU, grow_mm=9.0)
    _paint_bone_tube(canvas, plan, arm, HUMERUS_LEFT if side > 0 else HUMERUS_RIGHT)


def _paint_back_muscles(canvas: Canvas, box: Box, depth: Floats) -> None:
    for side, label in ((-1, MUSCLE_BACK_RIGHT), (1, MUSCLE_BACK_LEFT)):
        outline = np.sqrt(((box.x - side * 27) / 24.0) ** 2 + ((depth - 33) / 17.0) ** 2)
        canvas.paint(box, np.asarray((outline - 1) * 20.0, dtype=np.float32), MUSCLE_HU - 6, label=label)


def _compute_half_height(plan: BodyPlan, number: Floats, depth: Floats) -> Floats:
    half = np.full(np.broadcast_shapes(number.shape, depth.shape), 9.6 * plan.scale_xyz[2], dtype=np.float32)
    if plan.compressed_vertebra is not None:
        # A wedge: the front of the body loses most of its height.
        front = np.clip(0.6 - depth / 30.0, 0.25, 1.0)
        half *= np.where(number == plan.compressed_vertebra, 1 - plan.compression * front, 1).astype(np.float32)
    return half


def _number_vertebrae(number: Floats) -> np.ndarray:
    # T12 is 32 and numbers rise towards the head; below T12 they fall.
    return np.clip(VERTEBRA_T12 + 12 - number, 27, 50).astype(np.uint8)


def _paint_arches(
    canvas: Canvas, plan: BodyPlan, box: Box, *, depth: Floats, offset: Floats, labels: np.ndarray
) -> None:
    ring = np.sqrt((box.x / 17.0) ** 2 + ((depth - 21.5 * plan.scale) / 14.5) ** 2)
    ring = np.asarray((ring - 1) * 15.0, dtype=np.float32) + np.clip(offset - 7.5, 0, 4) * np.float32(2.0)
    process = np.maximum(np.abs(box.x) - 3.4, np.abs(depth - 43.0 * plan.scale) - 13.0) + np.clip(offset - 7, 0, 9)
    swept = depth - 24.0 * plan.scale - 0.3 * (np.abs(box.x) - 14.0)
    reach = np.maximum(np.abs(np.abs(box.x) - 25.0) - 11.0, np.abs(swept) - 5.0)
    pedicle = np.maximum(np.abs(np.abs(box.x) - 13.0) - 4.2, np.abs(depth - 14.0 * plan.scale) - 7.0)
    bone = np.minimum(np.minimum(ring, process), np.maximum(np.minimum(reach, pedicle), offset - 6.0))
    bone = np.asarray(np.maximum(bone, 8.0 - depth), dtype=np.float32)
    _paint_bone(canvas, box, bone, plan, 2.6)
    _mark(canvas, box, bone < 0, labels)
    canal = (np.sqrt((box.x / 10.5) ** 2 + ((depth - 21.0 * plan.scale) / 8.2) ** 2) - 1) * np.float32(9.0)
    canvas.paint(box, np.asarray(canal, dtype=np.float32), FLUID_HU)
    canvas.paint(box, np.asarray(canal + 4.0, dtype=np.float32), CORD_HU, label=CORD)


def _paint_bone(canvas: Canvas, box: Box, distance: Floats, plan: BodyPlan, cortex_mm: float) -> None:
    canvas.paint(box, distance, CORTEX_HU * plan.bone_density * 0.85)
    canvas.paint(box, distance + np.float32(cortex_mm), MARROW_HU * plan.bone_density)


def _paint_bone_tube(canvas: Canvas, plan: BodyPlan, tube: Tube, label: int) -> None:
    tube.paint(canvas, CORTEX_HU * plan.bone_density, label=label)
    tube.paint(canvas, MARROW_HU * plan.bone_density, grow_mm=-2.2)


def _paint_over_fat(canvas: Canvas, box: Box, distance: Floats, hu: float) -> None:
    is_fat = np.abs(canvas.hu[box.slices] - FAT_HU) < 90
    canvas.blend(box, canvas.cover(distance) * is_fat, hu)


def _mark(canvas: Canvas, box: Box, inside: np.ndarray, labels: np.ndarray) -> None:
    view = canvas.labels[box.slices]
    np.copyto(view, np.broadcast_to(labels, view.shape), where=inside)
