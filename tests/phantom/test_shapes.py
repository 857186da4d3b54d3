"""Shapes, painting and fields, on small grids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phantom.anatomy.plan import draw_plan
from phantom.canvas import AIR_HU, Canvas, Grid
from phantom.fields import make_generator, make_smooth_field
from phantom.shapes import Ellipsoid, join_smoothly, make_rotation, make_tube

GRID = Grid((40, 40, 40), (1.0, 1.0, 1.0), (-20.0, -20.0, -20.0))


class TestGrid:
    def test_coordinates_follow_spacing_and_origin(self) -> None:
        grid = Grid((4, 5, 6), (3.0, 2.0, 1.0), (10.0, 20.0, 30.0))
        assert grid.z.tolist() == [30, 33, 36, 39]
        assert grid.y[-1] == 28
        assert grid.x[-1] == 15

    def test_a_box_holds_the_voxels_between_its_corners(self) -> None:
        box = GRID.make_box((-2, -1, 0), (2, 1, 0))
        assert box.shape == (1, 3, 5)

    def test_a_box_outside_is_empty_and_painting_it_does_nothing(self) -> None:
        canvas = Canvas(GRID)
        box = GRID.make_box((100, 100, 100), (110, 110, 110))
        canvas.paint(box, np.zeros(box.shape, dtype=np.float32), 50.0)
        assert box.is_empty
        assert (canvas.hu == AIR_HU).all()

    @given(
        st.tuples(*[st.integers(-25, 25)] * 6),
        st.tuples(*[st.integers(-25, 25)] * 6),
    )
    def test_windows_of_two_boxes_show_the_same_voxels(self, first: tuple[int, ...], second: tuple[int, ...]) -> None:
        one, other = (GRID.make_box(np.minimum(c[:3], c[3:]), np.maximum(c[:3], c[3:])) for c in (first, second))
        shared = one.intersect(other)
        assert shared.shape == other.intersect(one).shape or shared.is_empty
        if not shared.is_empty:
            assert np.array_equal(one.x[..., one.find_window(other)[2]], other.x[..., other.find_window(one)[2]])


class TestShapes:
    def test_a_ball_has_its_volume(self) -> None:
        canvas = Canvas(GRID)
        ball = Ellipsoid((0.3, -0.2, 0.1), (8.0, 8.0, 8.0))
        box = ball.make_box(GRID)
        assert canvas.cover(ball.compute_distance(box)).sum() == pytest.approx(4 / 3 * np.pi * 512, rel=0.02)

    def test_a_turned_ellipsoid_lies_along_its_turned_axis(self) -> None:
        shape = Ellipsoid((0, 0, 0), (12.0, 3.0, 3.0), make_rotation(yaw_deg=90))
        inside = shape.compute_distance(GRID.whole) < 0
        assert inside[20, 30, 20]
        assert not inside[20, 20, 30]

    def test_a_rotation_keeps_lengths(self) -> None:
        turned = make_rotation(20, 30, 40)
        assert np.allclose(turned @ turned.T, np.eye(3))

    def test_a_rounded_tube_passes_through_its_points(self) -> None:
        points = [(-10.0, 0.0, 0.0), (0.0, 5.0, 0.0), (10.0, 0.0, 3.0)]
        tube = make_tube(points, 2.0, steps=4)
        assert len(tube.points) == 9
        assert np.allclose(tube.points[[0, 4, 8]], points)

    def test_painting_a_tube_by_segments_equals_its_distance(self) -> None:
        tube = make_tube([(-10.0, 0.0, 0.0), (10.0, 4.0, 2.0)], [3.0, 2.0])
        canvas = Canvas(GRID)
        tube.paint(canvas, 50.0, label=7)
        assert np.array_equal(canvas.labels == 7, tube.compute_distance(GRID.whole) < 0)

    def test_a_smooth_union_holds_both_shapes(self) -> None:
        first, second = (np.asarray(values, dtype=np.float32) for values in ([-1, 3, 0], [2, -2, 0]))
        joined = join_smoothly(first, second, 4.0)
        assert (joined <= np.minimum(first, second)).all()


class TestFields:
    def test_a_field_is_about_normal(self) -> None:
        field = make_smooth_field(GRID.whole, 3.0, make_generator(1, 0))
        assert abs(field.mean()) < 0.15
        assert 0.8 < field.std() < 1.3

    def test_concerns_do_not_disturb_each_other(self) -> None:
        assert make_generator(1, 2).random() == make_generator(1, 2).random()
        assert len({make_generator(1, concern).random() for concern in range(20)}) == 20


class TestPlan:
    @given(st.integers(0, 10_000))
    def test_every_patient_is_within_human_bounds(self, seed: int) -> None:
        plan = draw_plan(make_generator(seed, 0), 0.0)
        assert all(0.8 < scale < 1.2 for scale in plan.scale_xyz)
        assert 18 <= plan.age_years <= 100
        assert 30 < plan.blood_hu < 55
