"""Grouping of images and the geometry of stacks."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.intake.images import LAYOUT, PLACEMENT, heights, make_image
from workers.intake.dicom.descriptions import NOTHING_DESCRIBED
from workers.intake.dicom.header import Image, Vector
from workers.intake.resampling import Added, resample_heights, shear_back
from workers.intake.stacks.geometry import find_geometry_notices, find_geometry_problem, measure_stack
from workers.intake.stacks.grouping import Grouping, group_into_stacks
from workers.intake.stacks.repeats import UNREADABLE


def group(*images: Image) -> Grouping:
    return group_into_stacks(images, lambda image: str(image.crc32).encode())


def sizes(*images: Image) -> list[int]:
    return sorted(len(stack.images) for stack in group(*images).stacks)


class TestGrouping:
    @given(st.permutations(range(12)))
    def test_slices_are_ordered_by_height_whatever_the_order_of_files(self, order: list[int]) -> None:
        (stack,) = group(*(make_image(index * 2.5) for index in order)).stacks
        assert heights(stack.images) == [index * 2.5 for index in range(12)]

    @pytest.mark.parametrize(
        "other",
        [
            make_image(5, series_uid="1.2"),
            make_image(5, kernel=("LUNG",)),
            make_image(5, layout=replace(LAYOUT, rows=256)),
            make_image(5, placement=replace(PLACEMENT, spacing_yx_mm=(0.8, 0.8))),
            make_image(5, placement=replace(PLACEMENT, column_direction=(0.0, 0.0, -1.0))),
            make_image(5, is_derived_view=True),
        ],
    )
    def test_what_differs_makes_a_stack_of_its_own(self, other: Image) -> None:
        assert sizes(make_image(0), make_image(2.5), other) == [1, 2]

    def test_rounded_direction_cosines_do_not_divide(self) -> None:
        rounded = replace(PLACEMENT, row_direction=(0.9999999, 0.0002, 0.0))
        assert sizes(make_image(0), make_image(2.5, placement=rounded)) == [2]

    def test_phases_at_the_same_places_are_parted_by_acquisition(self) -> None:
        first = [make_image(z, acquisition=1) for z in range(10)]
        second = [make_image(z, acquisition=2) for z in range(8)]
        assert sizes(*first, *second) == [8, 10]

    def test_acquisitions_one_above_the_other_stay_together(self) -> None:
        lower = [make_image(z, acquisition=1) for z in range(10)]
        upper = [make_image(z, acquisition=2) for z in range(10, 20)]
        assert sizes(*lower, *upper) == [20]

    def test_repeats_that_nothing_tells_apart_are_dropped_with_a_notice(self) -> None:
        images = [replace(make_image(z), crc32=crc) for z in range(10) for crc in (1, 2)]
        (stack,) = group(*images).stacks
        assert len(stack.images) == 10
        assert stack.notices[0].code == "duplicate_positions"
        assert {image.crc32 for image in stack.images} == {1}
        assert stack.contested_mm == tuple(range(10))

    def test_one_instance_twice_is_read_once(self) -> None:
        image = make_image(0, instance_uid="1.5")
        grouping = group(image, replace(image, ordinal=1), make_image(2, instance_uid="1.6"))
        assert len(grouping.duplicates) == 1
        assert grouping.stacks[0].conflicts == ()

    def test_one_uid_for_two_images_is_a_conflict(self) -> None:
        image = make_image(0, instance_uid="1.5")
        grouping = group(image, replace(image, crc32=7), make_image(2, instance_uid="1.6"))
        assert grouping.stacks[0].conflicts == ("1.5",)


class TestPixelSpacing:
    def test_rounding_of_the_pixel_spacing_does_not_divide(self) -> None:
        spacings = [0.70312, 0.70313, 0.703125, 0.70315, 0.70314]
        images = [
            make_image(z, placement=replace(PLACEMENT, spacing_yx_mm=(spacings[z % 5], spacings[-z % 5])))
            for z in range(20)
        ]
        assert sizes(*images) == [20]


class TestPhases:
    def test_phases_between_each_other_are_parted(self) -> None:
        first = [make_image(z * 2.5, acquisition=1) for z in range(20)]
        second = [make_image(z * 2.5 + 0.7, acquisition=2) for z in range(20)]
        assert sizes(*first, *second) == [20, 20]

    def test_odd_and_even_rotations_of_one_even_scan_stay_together(self) -> None:
        assert sizes(*(make_image(z * 1.25, acquisition=z % 2) for z in range(40))) == [40]

    def test_a_rotation_of_its_own_for_each_slice_stays_together(self) -> None:
        assert sizes(*(make_image(z * 5.0, acquisition=z) for z in range(40))) == [40]

    @pytest.mark.parametrize(
        "difference",
        [
            {"temporal_position": 2},
            {"kilovolts": 80.0},
            {"image_type": ("DERIVED", "PRIMARY", "AXIAL", "DE")},
            {"thickness_mm": 5.0},
            {"has_contrast": True},
        ],
        ids=lambda difference: next(iter(difference)),
    )
    def test_what_tells_images_at_the_same_places_apart(self, difference: dict[str, object]) -> None:
        first = [make_image(z) for z in range(20)]
        second = [make_image(z, **difference) for z in range(20)]  # type: ignore[arg-type]  # test data
        grouping = group(*first, *second)
        assert [len(stack.images) for stack in grouping.stacks] == [20, 20]
        assert {stack.notices[0].facts["parted_by"] for stack in grouping.stacks} == {
            name.replace("thickness_mm", "slice_thickness").replace("has_contrast", "contrast") for name in difference
        }

    def test_phases_of_stations_are_parted_in_each(self) -> None:
        images = [
            make_image(z, acquisition=1 + z // 10, temporal_position=phase) for z in range(20) for phase in (1, 2)
        ]
        assert sizes(*images) == [20, 20]

    def test_stations_that_overlap_stay_one_stack_with_the_larger_kept(self) -> None:
        lower = [make_image(z, acquisition=1) for z in range(22)]
        upper = [make_image(z, acquisition=2) for z in range(20, 35)]
        (stack,) = group(*lower, *upper).stacks
        assert heights(stack.images) == list(range(35))
        assert [image.technique.acquisition for image in stack.images[19:23]] == [1, 1, 1, 2]
        assert stack.notices[0].facts == {"dropped": 2, "kept_by": "acquisition"}

    def test_a_few_slices_that_were_scanned_again_leave_the_scan_whole(self) -> None:
        scan = [make_image(z, acquisition=1) for z in range(40)]
        again = [make_image(z, acquisition=2) for z in (10, 11, 12)]
        assert sizes(*scan, *again) == [3, 40]

    def test_numbers_part_phases_that_nothing_else_tells_apart(self) -> None:
        images = [
            replace(make_image(z, instance_number=1 + z + 20 * phase), crc32=phase)
            for z in range(20)
            for phase in (0, 1)
        ]
        grouping = group(*images)
        assert [{image.crc32 for image in stack.images} for stack in grouping.stacks] == [{0}, {1}]

    @staticmethod
    def scan(phase: int, *heights_mm: float) -> list[Image]:
        """Return slices numbered in the order in which they are named, the second phase after the first."""
        return [
            replace(
                make_image(z, instance_number=100 * phase + number, instance_uid=f"{7 - phase}.{number}"), crc32=phase
            )
            for number, z in enumerate(heights_mm)
        ]

    @pytest.mark.parametrize(
        "second",
        [range(50), range(49, -1, -1), range(5, 75), range(-10, 60), range(80, -1, -1)],
        ids=["shorter", "backwards", "reaches higher", "begins lower", "begins higher, backwards"],
    )
    def test_numbers_part_phases_of_unequal_length(self, second: range) -> None:
        grouping = group(*self.scan(1, *range(60)), *self.scan(2, *second))
        parts = {frozenset(image.crc32 for image in stack.images): len(stack.images) for stack in grouping.stacks}
        assert parts == {frozenset({1}): 60, frozenset({2}): len(second)}
        assert {stack.notices[0].facts["parted_by"] for stack in grouping.stacks} == {"instance_number"}

    @pytest.mark.parametrize(
        "stations",
        [(range(32), range(30, 60)), (range(100), range(97, 200), range(197, 300)), (range(299, 195, -1), range(199))],
        ids=["two", "three", "downwards"],
    )
    def test_stations_that_only_numbers_tell_apart_stay_one_stack(self, stations: tuple[range, ...]) -> None:
        images = [image for number, station in enumerate(stations, 1) for image in self.scan(number, *station)]
        (stack,) = group(*images).stacks
        assert heights(stack.images) == list(range(max(map(max, stations)) + 1))
        changes = [one.crc32 != two.crc32 for one, two in pairwise(stack.images)]
        assert sum(changes) == len(stations) - 1
        assert stack.contested_mm == ()

    @pytest.mark.parametrize("place", [2, 3, 150])
    def test_one_image_too_many_cuts_nothing_off(self, place: int) -> None:
        walk = [*range(place + 1), *range(place, 300)]
        (stack,) = group(
            *(replace(make_image(z, instance_number=number), crc32=number) for number, z in enumerate(walk))
        ).stacks
        assert (len(stack.images), stack.contested_mm) == (300, ())

    @pytest.mark.parametrize("first", [1, 1000])
    def test_slices_of_a_sparser_phase_are_kept_out_by_their_numbers(self, first: int) -> None:
        dense = [replace(make_image(z, instance_number=z), crc32=1) for z in range(300)]
        sparse = [
            replace(make_image(z, instance_number=first + z // 10, instance_uid=f"0.{z}"), crc32=2)
            for z in range(5, 300, 10)
        ]
        (stack,) = group(*dense, *sparse).stacks
        assert {image.crc32 for image in stack.images} == {1}
        assert stack.contested_mm == ()

    def test_slices_of_a_sparser_phase_without_numbers_are_contested(self) -> None:
        images = [replace(make_image(z), crc32=1) for z in range(300)]
        (stack,) = group(*images, *(replace(make_image(z), crc32=2) for z in range(0, 300, 10))).stacks
        assert len(stack.contested_mm) == 30

    def test_phases_that_nothing_parts_are_contested(self) -> None:
        images = [replace(make_image(z), crc32=phase) for phase, length in ((1, 60), (2, 50)) for z in range(length)]
        (stack,) = group(*images).stacks
        assert stack.contested_mm == tuple(range(50))

    def test_numbers_that_go_to_and_fro_part_nothing(self) -> None:
        numbers = {(z, phase): 2 * z + phase for phase, length in ((0, 60), (1, 50)) for z in range(length)}
        images = [replace(make_image(z, instance_number=number), crc32=phase) for (z, phase), number in numbers.items()]
        (stack,) = group(*images).stacks
        assert len(stack.contested_mm) == 50

    def test_a_stray_image_is_left_out(self) -> None:
        (stack,) = group(*(make_image(z) for z in range(60)), replace(make_image(30), crc32=7)).stacks
        assert stack.contested_mm == ()
        assert stack.notices[0].facts == {"dropped": 1}


class TestCopies:
    def test_a_damaged_copy_makes_room_for_the_sound_one(self) -> None:
        images = [replace(make_image(z, instance_uid=f"{copy}.{z}"), crc32=copy) for copy in (1, 2) for z in range(60)]

        def digest(image: Image) -> bytes:
            return UNREADABLE if image.crc32 == 1 and image.height_mm in (20, 21) else b"%d" % int(image.height_mm)

        (stack,) = group_into_stacks(images, digest).stacks
        assert heights(stack.images) == list(range(60))
        assert stack.contested_mm == ()
        assert {image.crc32 for image in stack.images if image.height_mm in (20, 21)} == {2}

    def test_a_copy_under_another_uid_is_dropped_with_a_notice(self) -> None:
        images = [make_image(z, instance_uid=f"1.{z}.{copy}") for z in range(20) for copy in (1, 2)]
        grouping = group(*images)
        assert [len(stack.images) for stack in grouping.stacks] == [20]
        assert len(grouping.duplicates) == 20
        assert grouping.stacks[0].notices[0].facts == {"dropped": 20, "have_equal_pixels": True}

    def test_one_uid_at_two_places_is_a_conflict_even_with_equal_pixels(self) -> None:
        images = [make_image(z, instance_uid="1.5") for z in (0, 2)]
        assert group(*images).stacks[0].conflicts == ("1.5",)

    def test_two_series_may_use_the_same_instance_uids(self) -> None:
        images = [
            replace(make_image(z, series_uid=series, instance_uid=f"{z}"), crc32=number)
            for number, series in enumerate(("1.1", "1.2"))
            for z in range(5)
        ]
        grouping = group(*images)
        assert grouping.duplicates == ()
        assert not any(stack.conflicts for stack in grouping.stacks)

    def test_frames_of_one_file_at_one_place_are_no_copies(self) -> None:
        layout = replace(LAYOUT, frames=4)
        images = [replace(make_image(frame // 2, layout=layout), frame=frame) for frame in range(4)]
        assert group_into_stacks(images, lambda image: bytes([image.frame])).duplicates == ()

    def test_a_damaged_copy_gives_way_to_a_whole_one(self) -> None:
        images = [replace(make_image(z, instance_uid=f"{z}"), crc32=crc) for z in range(3) for crc in (1, 2)]
        grouping = group_into_stacks(images, lambda image: UNREADABLE if image.crc32 == 1 else b"pixels")
        assert [image.crc32 for image in grouping.duplicates] == [1, 1, 1]
        assert not any(stack.conflicts for stack in grouping.stacks)


class TestQuality:
    def test_contrast_and_expiration_are_told(self) -> None:
        described = replace(NOTHING_DESCRIBED, is_expiration=True)
        (stack,) = group(*(make_image(z, has_contrast=True, described=described) for z in range(3))).stacks
        assert [notice.code for notice in stack.notices] == ["contrast_medium", "expiration"]


directions = st.tuples(st.floats(-math.pi, math.pi), st.floats(-math.pi, math.pi), st.floats(-math.pi, math.pi))


def rotate(angles: tuple[float, float, float]) -> tuple[Vector, Vector]:
    """Return two orthonormal directions."""
    a, b, c = angles
    turn_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    turn_x = np.array([[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]])
    matrix = turn_z @ turn_y @ turn_x
    (rx, ry, rz), (cx, cy, cz) = matrix[:, 0].tolist(), matrix[:, 1].tolist()
    return (rx, ry, rz), (cx, cy, cz)


class TestGeometry:
    @given(directions, st.floats(0.3, 10))
    def test_any_orientation_is_measured_and_right_handed(
        self, angles: tuple[float, float, float], spacing: float
    ) -> None:
        row, column = rotate(angles)
        normal = np.cross(row, column)
        images = []
        for index in (3, 0, 4, 1, 2):
            x, y, z = (normal * spacing * index).tolist()
            turned = replace(PLACEMENT, row_direction=row, column_direction=column)
            images.append(make_image(z, xy_mm=(x, y), placement=turned))
        (stack,) = group(*images).stacks
        geometry = measure_stack(stack.images)
        assert geometry.spacing_mm == pytest.approx(spacing, abs=1e-5)
        assert geometry.is_uniform
        assert not geometry.is_tilted
        step = np.subtract(stack.images[1].placement.position_mm, stack.images[0].placement.position_mm)
        assert np.linalg.det(np.array([row, column, step])) > 0

    def measure(self, *heights_mm: float) -> list[str]:
        geometry = measure_stack([make_image(z) for z in heights_mm])
        problem = find_geometry_problem(geometry)
        return [str(problem.code)] if problem else [notice.code for notice in find_geometry_notices(geometry)]

    def test_even_spacing_needs_no_word(self) -> None:
        assert self.measure(*np.arange(20) * 1.25) == []

    def test_rounded_positions_are_even(self) -> None:
        assert self.measure(*(round(z * 0.625, 2) for z in range(20))) == []

    def test_rounding_of_positions_does_not_bias_the_spacing(self) -> None:
        geometry = measure_stack([make_image(round(z * 0.625, 2)) for z in range(201)])
        assert geometry.spacing_mm == pytest.approx(0.625)

    def test_a_little_unevenness_is_mended(self) -> None:
        assert self.measure(*(z * 2.5 + (0.1 if z % 2 else 0) for z in range(20))) == ["non_uniform_spacing"]

    def test_one_missing_slice_is_interpolated(self) -> None:
        assert self.measure(*(z for z in range(30) if z != 12)) == ["slices_interpolated"]

    def test_two_missing_neighbours_are_a_gap(self) -> None:
        assert self.measure(*(z for z in range(30) if z not in {12, 13})) == ["slice_gap"]

    def test_more_than_one_in_ten_missing_are_a_gap(self) -> None:
        assert self.measure(*(z for z in range(30) if z % 6 != 3)) == ["slice_gap"]

    def test_half_steps_are_a_gap(self) -> None:
        assert self.measure(*range(20), 20.5, *range(21, 30)) == ["slice_gap"]

    def test_tilt_is_found_from_positions(self) -> None:
        drift = math.tan(math.radians(10))
        geometry = measure_stack([make_image(z, xy_mm=(0, -z * drift)) for z in range(20)])
        assert geometry.tilt_degrees == pytest.approx(10)
        assert find_geometry_problem(geometry) is None
        assert [notice.code for notice in find_geometry_notices(geometry)] == ["tilt_corrected"]

    @pytest.mark.parametrize(("slices", "spacing_mm", "codes"), [
        (30, 20, ["thick_slices"]), (30, 20.1, ["invalid_geometry"]), (60, 5000, ["invalid_geometry"]),
        (700, 5, ["invalid_geometry"]),
    ])  # fmt: skip
    def test_slices_further_apart_than_any_scan_are_refused(
        self, slices: int, spacing_mm: float, codes: list[str]
    ) -> None:
        assert self.measure(*np.arange(slices) * spacing_mm) == codes

    def test_too_much_tilt_is_refused(self) -> None:
        geometry = measure_stack([make_image(z, xy_mm=(0, z)) for z in range(20)])
        problem = find_geometry_problem(geometry)
        assert problem is not None
        assert problem.code == "invalid_geometry"

    def test_slices_that_jump_sideways_are_refused(self) -> None:
        geometry = measure_stack([make_image(z, xy_mm=(5 * (z % 2), 0)) for z in range(20)])
        problem = find_geometry_problem(geometry)
        assert problem is not None
        assert problem.code == "invalid_geometry"


class TestResampling:
    def test_a_missing_slice_lies_between_its_neighbours(self) -> None:
        kept = [z for z in range(30) if z != 12]
        hu = np.array(kept, dtype=np.int16)[:, None, None] * np.ones((1, 4, 4), dtype=np.int16) * 10
        even = resample_heights(hu, measure_stack([make_image(z) for z in kept]))
        assert even[:, 0, 0].tolist() == [z * 10 for z in range(30)]

    def test_shearing_back_straightens_a_tilted_column(self) -> None:
        drift = 0.1
        images = [make_image(z * 7, xy_mm=(0, z * 7 * drift)) for z in range(10)]  # one pixel of 0.7 mm each
        hu = np.full((10, 32, 8), -1000, dtype=np.int16)
        for z in range(10):
            hu[z, 16 - z, :] = 500  # a rod along z: its row falls as the slices' corners rise
        straight, added = shear_back(hu, measure_stack(images), (0.7, 0.7))
        assert added == Added(0, 0, 0, 0)
        assert (straight[:, 16, 4] == 500).all()
