"""Tokens lie in the patient where the preprocessing took them from, whatever way the volume was stored."""

from __future__ import annotations

import gzip
import json
from itertools import permutations
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from workers.ct_clip.configuration import ImageShape, Preprocessing, Variant
from workers.ct_clip.preprocess import prepare
from workers.ct_clip.relevance_file import write_relevance
from workers.ct_clip.relevance_places import find_place
from workers.ct_clip.token_grid import TokenGrid, make_token_grid
from workers.volume import Geometry, Volume

SHAPE = (34, 42, 38)
IMAGE = ImageShape(dim=12, image_size=24, patch_size=3, temporal_patch_size=2, dim_head=4, heads=2)
PREPROCESSING = Preprocessing(Variant.PUBLIC, spacing_mm=(3.0, 4.0, 4.0), shape=(20, 24, 24))
PADDED = Preprocessing(Variant.PUBLIC, spacing_mm=(6.0, 7.0, 7.0), shape=(30, 24, 24))
SCALE = 4.0
"""HU for a millimetre in a volume that holds a coordinate."""


def make_geometry(rotation: Rotation, swap: tuple[int, ...], signs: tuple[int, int]) -> Geometry:
    """Return axes that are turned, exchanged and mirrored; around the origin, so that no coordinate is clipped."""
    axes = rotation.as_matrix().T[list(swap)]
    row, column = axes[0] * signs[0], axes[1] * signs[1]
    spacing = (2.7, 2.0, 2.3)
    normal = np.cross(row, column)
    half = [step * (size - 1) / 2 for step, size in zip(spacing, SHAPE, strict=True)]
    corner = -(normal * half[0] + column * half[1] + row * half[2]) + (3.0, -8.0, 5.0)
    origin, across, down = (tuple(float(value) for value in each) for each in (corner, row, column))
    return Geometry(spacing, origin, across, down)  # type: ignore[arg-type]  # tuples of three


geometries = st.builds(
    make_geometry,
    st.tuples(*[st.floats(-25, 25)] * 3).map(lambda angles: Rotation.from_euler("xyz", angles, degrees=True)),
    st.sampled_from(list(permutations(range(3)))),
    st.tuples(*[st.sampled_from([-1, 1])] * 2),
)


def make_coordinates(geometry: Geometry) -> list[Volume]:
    """Return three volumes that hold the x, the y and the z of their own voxels."""
    z, y, x = np.indices(SHAPE)
    positions = np.stack([x, y, z, np.ones_like(x)], axis=-1) @ geometry.compute_affine_lps()[:3].T
    return [Volume(np.rint(positions[..., axis] * SCALE).astype(np.int16), geometry) for axis in range(3)]


def average_tokens(prepared: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return means of patches as (x, y, slab)."""
    slices, x, y = prepared.shape
    patches = prepared.astype(np.float64).reshape(slices // 2, 2, x // 3, 3, y // 3, 3)
    means: npt.NDArray[np.float64] = patches.mean(axis=(1, 3, 5))
    return means.transpose(1, 2, 0)


class TestTokenGrid:
    @settings(max_examples=12, deadline=None)
    @given(geometries, st.sampled_from([PREPROCESSING, PADDED]))
    def test_the_centre_of_a_token_is_what_its_voxels_say(
        self, geometry: Geometry, preprocessing: Preprocessing
    ) -> None:
        grid = make_token_grid(geometry, SHAPE, preprocessing, IMAGE)
        seen = [
            average_tokens(prepare(volume, preprocessing)[0, 0].numpy()) * 1000 / SCALE
            for volume in make_coordinates(geometry)
        ]
        # The outermost tokens hold padding, or voxels of the edge that the resampling repeats.
        whole = [range(along.start + 1, along.stop - 1) for along in grid.scanned]
        tokens = np.stack([each.ravel() for each in np.meshgrid(*whole, indexing="ij")], axis=-1)
        assert len(tokens) >= 16
        expected = tokens @ grid.to_lps[:3, :3].T + grid.to_lps[:3, 3]
        found = np.stack([coordinate[tuple(tokens.T)] for coordinate in seen], axis=-1)
        np.testing.assert_allclose(found, expected, atol=0.3)

    @settings(max_examples=12, deadline=None)
    @given(geometries)
    def test_padding_is_not_scanned(self, geometry: Geometry) -> None:
        grid = make_token_grid(geometry, SHAPE, PADDED, IMAGE)
        prepared = prepare(Volume(np.full(SHAPE, 500, np.int16), geometry), PADDED)[0, 0].numpy()
        holds_volume = average_tokens(prepared) > -0.999
        scanned = np.zeros_like(holds_volume)
        scanned[grid.scanned] = True
        assert (scanned == holds_volume).all()


def put_hot_spot(grid: TokenGrid, token: tuple[int, int, int]) -> npt.NDArray[np.float32]:
    relevance = np.full((8, 8, 10), -0.01, np.float32)
    relevance[token] = 2.0
    relevance[token[0], token[1] + 1, token[2]] = 1.5
    relevance[0, 0, 0] = 0.9
    return relevance


class TestFile:
    @settings(max_examples=12, deadline=None)
    @given(geometries)
    def test_a_viewer_lays_a_hot_spot_where_it_is(
        self, tmp_path_factory: pytest.TempPathFactory, geometry: Geometry
    ) -> None:
        path = tmp_path_factory.mktemp("maps") / "maps.nii.gz"
        grid = make_token_grid(geometry, SHAPE, PREPROCESSING, IMAGE)
        relevance = put_hot_spot(grid, (4, 3, 5))
        write_relevance(path, relevance[..., None], grid.to_lps, {})
        place = find_place(relevance, grid, geometry)
        assert place is not None
        image = nibabel.Nifti1Image.from_filename(path)
        peak = np.unravel_index(np.asarray(image.dataobj)[..., 0].argmax(), relevance.shape)
        ras = image.affine @ (*peak, 1)
        np.testing.assert_allclose(ras[:3] * (-1, -1, 1), place.peak_lps_mm, atol=0.06)
        qform: npt.NDArray[np.float64] | None = image.get_qform(coded=True)[0]  # type: ignore[no-untyped-call]  # nibabel's
        assert qform is None or np.allclose(qform, image.affine, rtol=0, atol=1e-3)

    def test_it_names_its_findings_and_is_the_same_each_time(self, tmp_path: Path) -> None:
        told = {"findings": [{"label": "Ателектаз"}]}
        for name in ("one", "other"):
            write_relevance(tmp_path / name, np.zeros((8, 8, 10, 1), np.float32), np.eye(4), told)
        content = (tmp_path / "one").read_bytes()
        assert content == (tmp_path / "other").read_bytes()
        image = nibabel.Nifti1Image.from_bytes(gzip.decompress(content))
        (extension,) = image.header.extensions
        assert json.loads(extension.get_content()) == told
        assert int(image.header["xyzt_units"]) & 7 == 2  # millimetres
        assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 1)


AXIAL = Geometry((2.0, 1.0, 1.0), (-30.0, -40.0, 100.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
TURNED = Geometry((2.0, 1.0, 1.0), (-30.0, -40.0, 100.0), (1.0, 0.0, 0.0), (0.0, -1.0, 0.0))
EQUAL = Preprocessing(Variant.PUBLIC, spacing_mm=(2.0, 1.0, 1.0), shape=(20, 24, 24))


class TestPlace:
    def test_it_is_told_in_millimetres_and_slices(self) -> None:
        grid = make_token_grid(AXIAL, (20, 24, 24), EQUAL, IMAGE)
        place = find_place(put_hot_spot(grid, (4, 3, 5)), grid, AXIAL)
        assert place is not None
        assert place.peak_lps_mm == pytest.approx((-30 + 4 * 3 + 1, -40 + 3 * 3 + 1, 100 + 2 * 10.5))
        assert place.low_lps_mm == pytest.approx((-30 + 12 - 0.5, -40 + 9 - 0.5, 100 + 2 * 9.5))
        assert place.high_lps_mm == pytest.approx((-30 + 15 - 0.5, -40 + 15 - 0.5, 100 + 2 * 11.5))
        assert place.slices == (10, 11)
        assert place.slice_positions_mm == (120.0, 122.0)
        assert place.share == pytest.approx(3.5 / 4.4)
        assert place.peak_log_odds == 2.0

    def test_slices_are_counted_as_the_volume_counts_them(self) -> None:
        grid = make_token_grid(TURNED, (20, 24, 24), EQUAL, IMAGE)
        place = find_place(put_hot_spot(grid, (4, 3, 0)), grid, TURNED)
        assert place is not None
        assert place.slices == (18, 19)  # the normal points to the feet, the first slab is theirs
        assert place.peak_lps_mm[2] == 100 - 2 * 18.5

    def test_a_region_that_reaches_into_the_padding_ends_with_the_volume(self) -> None:
        grid = make_token_grid(AXIAL, (19, 24, 24), EQUAL, IMAGE)
        place = find_place(put_hot_spot(grid, (4, 3, 9)), grid, AXIAL)
        assert place is not None
        assert place.slices == (18, 18)
        assert place.peak_lps_mm[2] == 100 + 2 * 18
        assert place.high_lps_mm[2] == 100 + 2 * 18.5

    def test_padding_is_no_place(self) -> None:
        grid = make_token_grid(AXIAL, (10, 24, 24), EQUAL, IMAGE)
        assert (
            find_place(put_hot_spot(grid, (4, 3, 0))[..., :10] * np.eye(1, 10, dtype=np.float32)[0], grid, AXIAL)
            is None
        )

    def test_where_nothing_speaks_for_a_finding_there_is_none(self) -> None:
        grid = make_token_grid(AXIAL, (20, 24, 24), EQUAL, IMAGE)
        assert find_place(np.full((8, 8, 10), -1, np.float32), grid, AXIAL) is None
