"""What holds for every stack: any order of files, any orientation, any rounding, any tilt within the limits."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.workers.intake.images import PLACEMENT, make_image, rank_stacks
from workers.intake.dicom.header import Image, Vector
from workers.intake.resampling import mend
from workers.intake.stacks.geometry import (
    StackGeometry,
    find_geometry_notices,
    find_geometry_problem,
    measure_stack,
)
from workers.intake.stacks.grouping import group_into_stacks
from workers.volume.geometry import Geometry, convert_lps_to_ras

Numbers = npt.NDArray[np.float64]

angles = st.floats(-math.pi, math.pi)
turns = st.tuples(angles, angles, angles)
spacings = st.floats(0.3, 8.0)


def turn(around_x: float, around_y: float, around_z: float) -> Numbers:
    """Return a rotation matrix."""
    (cx, sx), (cy, sy), (cz, sz) = ((math.cos(a), math.sin(a)) for a in (around_x, around_y, around_z))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def vector(values: Numbers) -> Vector:
    x, y, z = (float(value) for value in values)
    return (x, y, z)


def place(rotation: Numbers, positions: Sequence[Numbers], **technique: object) -> list[Image]:
    """Return images of one orientation at positions in LPS."""
    turned = replace(PLACEMENT, row_direction=vector(rotation[:, 0]), column_direction=vector(rotation[:, 1]))
    images = []
    for position in positions:
        x, y, z = vector(position)
        images.append(make_image(z, xy_mm=(x, y), placement=turned, **technique))  # type: ignore[arg-type]  # test data
    return images


def measure(images: Sequence[Image]) -> StackGeometry:
    (stack,) = group_into_stacks(images, lambda _image: b"").stacks
    return measure_stack(stack.images)


class TestOrder:
    @settings(deadline=None)
    @given(st.randoms(use_true_random=False), turns)
    def test_any_permutation_gives_the_same_stacks_and_the_same_geometry(
        self, random: Random, rotation: tuple[float, float, float]
    ) -> None:
        matrix = turn(*rotation)
        images = place(matrix, [matrix @ [0, 0, 2.5 * z] for z in range(12)], acquisition=1)
        images += place(matrix, [matrix @ [0, 0, 2.5 * z] for z in range(8)], acquisition=2)
        images += place(matrix, [matrix @ [0, 0, 1.0 * z] for z in range(6)], kernel=("LUNG",))
        images = [replace(image, crc32=number) for number, image in enumerate(images)]
        shuffled = list(images)
        random.shuffle(shuffled)
        one, other = (group_into_stacks(some, lambda image: bytes([image.crc32])) for some in (images, shuffled))
        assert one.stacks == other.stacks
        assert [measure_stack(stack.images) for stack in one.stacks] == [
            measure_stack(stack.images) for stack in other.stacks
        ]


class TestOrientation:
    @settings(deadline=None)
    @given(turns, spacings, st.booleans())
    def test_no_stack_is_left_handed_however_it_was_scanned(
        self, rotation: tuple[float, float, float], spacing: float, is_descending: bool
    ) -> None:
        matrix = turn(*rotation)
        heights = np.arange(9) * spacing * (-1 if is_descending else 1)
        images = place(matrix, [matrix @ [3.0, -7.0, height] for height in heights])
        (stack,) = group_into_stacks(images, lambda _image: b"").stacks
        step = np.subtract(stack.images[1].placement.position_mm, stack.images[0].placement.position_mm)
        assert np.linalg.det(np.column_stack([matrix[:, 0], matrix[:, 1], step])) > 0
        geometry = measure_stack(stack.images)
        assert geometry.spacing_mm == pytest.approx(spacing, abs=1e-6)
        assert geometry.is_uniform
        assert not geometry.is_tilted

    @pytest.mark.parametrize(
        ("row", "column"),
        [
            ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),  # head first, supine
            ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0)),  # head first, prone
            ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),  # feet first, seen from above
            ((0.0, -1.0, 0.0), (1.0, 0.0, 0.0)),  # decubitus right
            ((0.0, 1.0, 0.0), (-1.0, 0.0, 0.0)),  # decubitus left
        ],
    )
    def test_the_position_of_the_patient_needs_nothing_special(self, row: Vector, column: Vector) -> None:
        matrix = np.column_stack([row, column, np.cross(row, column)])
        geometry = measure(place(matrix, [matrix @ [0, 0, 1.25 * z] for z in range(30)]))
        assert geometry.is_axial
        assert geometry.is_uniform
        assert find_geometry_problem(geometry) is None
        assert find_geometry_notices(geometry) == ()

    @settings(deadline=None)
    @given(st.floats(1.1, 14.9), angles)
    def test_up_to_fifteen_degrees_from_axial_are_accepted_with_a_notice(self, degrees: float, around_z: float) -> None:
        matrix = turn(math.radians(degrees), 0, around_z)
        geometry = measure(place(matrix, [matrix @ [0, 0, 2.0 * z] for z in range(30)]))
        assert geometry.is_axial
        assert [notice.code for notice in find_geometry_notices(geometry)] == ["oblique"]

    @settings(deadline=None)
    @given(st.floats(15.1, 90))
    def test_more_is_not_axial(self, degrees: float) -> None:
        matrix = turn(math.radians(degrees), 0, 0)
        assert not measure(place(matrix, [matrix @ [0, 0, 2.0 * z] for z in range(30)])).is_axial

    @settings(deadline=None)
    @given(st.lists(st.floats(-4e-4, 4e-4), min_size=40, max_size=40))
    def test_cosines_that_are_rounded_differently_neither_divide_nor_bend(self, errors: list[float]) -> None:
        images = []
        for z in range(20):
            row, column = (1.0, errors[z], 0.0), (-errors[z], 1.0, errors[20 + z])
            turned = replace(PLACEMENT, row_direction=row, column_direction=column)
            images.append(make_image(1.25 * z, xy_mm=(-250.0, -250.0), placement=turned))
        geometry = measure(images)
        assert len(geometry.heights_mm) == 20
        assert geometry.spacing_mm == pytest.approx(1.25, rel=1e-5)
        assert geometry.is_uniform
        assert not geometry.is_tilted


class TestSpacing:
    @settings(deadline=None)
    @given(spacings, st.lists(st.floats(-1, 1), min_size=30, max_size=30))
    def test_jitter_below_the_tolerance_is_even(self, spacing: float, jitter: list[float]) -> None:
        tolerance = max(0.01, 0.01 * spacing)
        heights = [z * spacing + 0.24 * tolerance * error for z, error in enumerate(jitter)]
        geometry = measure([make_image(height) for height in heights])
        assert geometry.is_uniform
        assert "non_uniform_spacing" not in {notice.code for notice in find_geometry_notices(geometry)}

    @settings(deadline=None)
    @given(st.floats(0.5, 8.0), st.lists(st.floats(-1, 1), min_size=30, max_size=30))
    def test_jitter_below_ten_per_cent_is_never_a_gap(self, spacing: float, jitter: list[float]) -> None:
        heights = [z * spacing + 0.02 * spacing * error for z, error in enumerate(jitter)]
        geometry = measure([make_image(height) for height in heights])
        assert geometry.gaps == ()
        assert find_geometry_problem(geometry) is None

    @settings(deadline=None)
    @given(st.floats(0.3, 8.0), st.integers(0, 3), st.floats(-500, 500))
    @example(2.4972837878384286, 0, 0.0)
    def test_rounding_of_positions_fails_no_series(self, spacing: float, decimals: int, start: float) -> None:
        if 10.0**-decimals > spacing / 2:
            return  # a missing slice would hide in such rounding
        exact = start + np.arange(200) * spacing
        if np.mean(np.abs(exact * 10**decimals % 1 - 0.5) < 1e-6) > 0.5:
            return  # on the edge of rounding: the last bit sends each up or down, which looks like half steps
        geometry = measure([make_image(round(height, decimals)) for height in exact.tolist()])
        assert find_geometry_problem(geometry) is None
        assert geometry.spacing_mm == pytest.approx(spacing, abs=max(0.1 * spacing, 1e-6))

    def test_one_decimal_is_told_and_read_as_even(self) -> None:
        geometry = measure([make_image(round(z * 0.625, 1)) for z in range(201)])
        assert geometry.is_uniform
        assert geometry.spacing_mm == pytest.approx(0.625)
        assert [(notice.code, notice.facts["rounded_to_mm"]) for notice in find_geometry_notices(geometry)] == [
            ("positions_rounded", 0.1)
        ]

    @settings(deadline=None)
    @given(st.integers(10, 60), st.data(), st.sampled_from([1, 2, 3]))
    def test_a_missing_slice_never_hides_in_rounding(self, slices: int, data: st.DataObject, decimals: int) -> None:
        absent = data.draw(st.integers(1, slices - 2))
        heights = [round(z * 0.625, decimals) for z in range(slices) if z != absent]
        geometry = measure([make_image(height) for height in heights])
        assert not geometry.is_uniform

    @settings(deadline=None)
    @given(st.integers(10, 60), st.data())
    def test_one_missing_of_ten_is_interpolated_where_it_is(self, slices: int, data: st.DataObject) -> None:
        absent = data.draw(st.integers(1, slices - 2))
        heights = [z * 2.0 for z in range(slices) if z != absent]
        geometry = measure([make_image(height) for height in heights])
        assert find_geometry_problem(geometry) is None
        hu = np.asarray(heights, dtype=np.int16)[:, None, None] * np.ones((1, 3, 3), dtype=np.int16)
        mended, position = mend(hu, geometry, PLACEMENT)
        assert mended[:, 1, 1].tolist() == [2 * z for z in range(slices)]
        assert position == PLACEMENT.position_mm

    def test_a_gap_tells_its_positions_in_millimetres(self) -> None:
        problem = find_geometry_problem(measure([make_image(z * 2.0) for z in range(40) if z not in range(10, 14)]))
        assert problem is not None
        assert problem.code == "slice_gap"
        assert problem.facts == {"spacing_mm": 2.0, "positions_mm": [[18.0, 28.0]], "missing_slices": 4}


PIXEL_MM = 0.8
SPACING_MM = 2.0


def scan_tilted(degrees: float, *, axis: int) -> tuple[list[Image], npt.NDArray[np.int16]]:
    """Return what a gantry tilted about x (axis 0) or y (axis 1) sees of a bright rod along the body.

    The table moves along z, so that is the direction from slice to slice; the rod runs along z through the middle of
    the first slice, 5 mm thick, in soft tissue.
    """
    tilt = math.radians(degrees)
    matrix = turn(tilt, 0, 0) if axis == 0 else turn(0, tilt, 0)
    size, slices = 64, 24
    middle = np.array([size // 2, size // 2]) * PIXEL_MM
    table = np.array([0.0, 0.0, SPACING_MM / math.cos(tilt)])
    positions = [np.array([-25.0, -25.0, 100.0]) + index * table for index in range(slices)]
    on_rod = positions[0] + matrix[:, :2] @ middle
    rows, columns = np.meshgrid(np.arange(size) * PIXEL_MM, np.arange(size) * PIXEL_MM, indexing="ij")
    hu = np.full((slices, size, size), -1000, dtype=np.int16)
    for index, position in enumerate(positions):
        world = position + columns[..., None] * matrix[:, 0] + rows[..., None] * matrix[:, 1]
        away = np.hypot(world[..., 0] - on_rod[0], world[..., 1] - on_rod[1])
        hu[index] = np.where(away < 5.0, 1000, np.where(away < 15.0, 40, -1000))
    turned = replace(
        PLACEMENT,
        row_direction=vector(matrix[:, 0]),
        column_direction=vector(matrix[:, 1]),
        spacing_yx_mm=(PIXEL_MM, PIXEL_MM),
    )
    images = [
        make_image(float(z), xy_mm=(float(x), float(y)), placement=turned) for x, y, z in (vector(p) for p in positions)
    ]
    return images, hu


class TestTilt:
    @settings(deadline=None, max_examples=30)
    @given(st.floats(0.5, 29.0), st.sampled_from([-1, 1]), st.sampled_from([0, 1]))
    def test_a_rod_along_the_body_lies_where_it_is_and_keeps_its_density(
        self, degrees: float, sign: int, axis: int
    ) -> None:
        images, hu = scan_tilted(sign * degrees, axis=axis)
        measured = measure(images)
        assert measured.tilt_degrees == pytest.approx(degrees, abs=1e-6)
        assert measured.is_tilted
        assert measured.is_axial  # the table ran along the body, however far the slices lean
        assert find_geometry_problem(measured) is None
        straight, position = mend(hu.copy(), measured, images[0].placement)
        first = images[0].placement
        affine = Geometry(
            (measured.spacing_mm, PIXEL_MM, PIXEL_MM), position, first.row_direction, first.column_direction
        ).compute_affine_lps()
        along_x, along_y = self.find_rod(straight, affine)
        assert np.ptp(along_x) < 0.25
        assert np.ptp(along_y) < 0.25
        assert {int(plane.max()) for plane in straight} == {1000}
        # All that was scanned is still there: the tissue around the rod did not leave the image.
        assert (straight > 0).sum() == pytest.approx((hu > 0).sum(), rel=0.05)

    def find_rod(self, hu: npt.NDArray[np.int16], affine: Numbers) -> tuple[Numbers, Numbers]:
        """Return x and y in LPS of the rod's middle in each slice."""
        middles = []
        for z, plane in enumerate(hu):
            weights = np.where(plane > 100, plane.astype(float), 0)
            rows, columns = np.indices(plane.shape)
            column, row = (weights * columns).sum() / weights.sum(), (weights * rows).sum() / weights.sum()
            middles.append(affine @ [column, row, z, 1])
        return np.asarray(middles)[:, 0], np.asarray(middles)[:, 1]

    def test_the_frame_grows_only_as_far_as_matter_would_leave_it(self) -> None:
        images, hu = scan_tilted(5.0, axis=0)
        straight, _ = mend(hu.copy(), measure(images), images[0].placement)
        assert straight.shape[1] == 64
        hu[:, [0, -1]] = 40
        grown, _ = mend(hu.copy(), measure(images), images[0].placement)
        shift = math.ceil(23 * SPACING_MM * math.tan(math.radians(5)) / PIXEL_MM)
        assert grown.shape == (24, 64 + shift, 64)

    @pytest.mark.parametrize("degrees", [-0.05, 0.0, 0.05])
    def test_a_tenth_of_a_degree_is_no_tilt(self, degrees: float) -> None:
        images, _ = scan_tilted(degrees, axis=0)
        assert not measure(images).is_tilted

    @pytest.mark.parametrize("degrees", [-31.0, 31.0])
    def test_beyond_thirty_degrees_is_refused_with_the_angle(self, degrees: float) -> None:
        images, _ = scan_tilted(degrees, axis=0)
        measured = measure(images)
        assert measured.is_axial  # else the tilt would not be told as the reason
        problem = find_geometry_problem(measured)
        assert problem is not None
        assert problem.code == "invalid_geometry"
        assert problem.facts["tilt_degrees"] == 31.0
        assert problem.facts["limit_degrees"] == 30.0

    def test_a_straight_stack_is_left_as_it_is(self) -> None:
        images, hu = scan_tilted(0.0, axis=0)
        straight, position = mend(hu.copy(), measure(images), images[0].placement)
        assert (straight == hu).all()
        assert position == images[0].placement.position_mm


class TestSpaces:
    @settings(deadline=None)
    @given(turns, st.tuples(spacings, spacings, spacings))
    def test_ras_is_what_nibabel_calls_it_and_the_way_back_is_the_same(
        self, rotation: tuple[float, float, float], spacing: tuple[float, float, float]
    ) -> None:
        matrix = turn(*rotation)
        geometry = Geometry(spacing, (-10.0, 20.0, -30.0), vector(matrix[:, 0]), vector(matrix[:, 1]))
        lps = geometry.compute_affine_lps()
        ras = convert_lps_to_ras(lps)
        assert convert_lps_to_ras(ras) == pytest.approx(lps)
        assert ras[:2] == pytest.approx(-lps[:2])
        sizes = nibabel.affines.voxel_sizes(ras)  # type: ignore[no-untyped-call]  # of nibabel
        assert sizes == pytest.approx(spacing[::-1])

    def test_nibabel_names_the_axes_of_a_plain_chest_as_they_are(self) -> None:
        plain = Geometry((2.5, 0.7, 0.7), (-170.0, -150.0, -20.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
        # Columns grow to the left, rows to the back, slices to the head.
        ras = convert_lps_to_ras(plain.compute_affine_lps())
        assert nibabel.aff2axcodes(ras) == ("L", "P", "S")  # type: ignore[no-untyped-call]  # of nibabel


absurd = st.sampled_from([0.0, 1e-300, 0.01, 1.0, -1.0, 12345.678, 1e5, -1e5])
absurd_length = st.sampled_from([None, 1e-300, 0.5, 1e308])
absurd_number = st.sampled_from([None, 0, -1, 10**60])
absurd_images = st.builds(
    lambda z, x, thickness, kilovolts, number, acquisition: make_image(
        z,
        xy_mm=(x, 0.0),
        thickness_mm=thickness,
        kilovolts=kilovolts,
        instance_number=number,
        acquisition=acquisition,
    ),
    absurd,
    absurd,
    absurd_length,
    absurd_length,
    absurd_number,
    absurd_number,
)


class TestAbsurdValues:
    @settings(deadline=None)
    @given(st.lists(absurd_images, min_size=1, max_size=30))
    def test_whatever_a_header_may_hold_ends_in_candidates_that_can_be_told(self, images: list[Image]) -> None:
        grouping = group_into_stacks(images, lambda image: bytes([image.crc32]))
        candidates = rank_stacks(*grouping.stacks)
        assert sum(len(stack.images) for stack in grouping.stacks) + len(grouping.duplicates) <= len(images)
        for candidate in candidates:
            json.dumps([candidate.describe(), candidate.criteria, candidate.score], allow_nan=False)
            assert all(0 <= value <= 1 for value in candidate.criteria.values())
