"""Small scans in any pose, the images they could have come from, and organs in them."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from workers.renderings.dicom import Provenance
from workers.renderings.maker import Maker
from workers.renderings.segmentation import Organs, list_segments
from workers.segmentation.labels import TOTAL_NAMES
from workers.volume import Geometry
from workers.volume.geometry import Triple
from workers.volume.source import SourceImage, SourceSeries

NAMES = dict(enumerate(TOTAL_NAMES, start=1))
MAKER = Maker("segmentation-demo", "1.0", "ab" * 32, is_demo=True)
AXIAL = Geometry((2.0, 1.5, 1.25), (-20.0, -30.5, 101.25), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
FEET_FIRST = Geometry((2.0, 1.5, 1.25), (20.0, -30.5, 101.25), (-1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
CORONAL = Geometry((2.5, 1.0, 1.25), (-20.0, 40.0, 101.25), (1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
SHAPE = (9, 12, 16)
MADE_AT = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)

_CT, _ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"
_SPACINGS = st.floats(0.3, 7.0)
_PLACES = st.floats(-900.0, 900.0)


@st.composite
def draw_geometries(draw: st.DrawFn) -> Geometry:
    """Return a geometry that is turned and flipped in any way."""
    turns = Rotation.from_euler("xyz", [draw(st.floats(-180, 180)) for _ in range(3)], degrees=True)
    row, column, _ = turns.as_matrix().T
    spacings, origin = draw(st.tuples(*[_SPACINGS] * 3)), draw(st.tuples(*[_PLACES] * 3))
    return Geometry(spacings, origin, _triple(row), _triple(column))


def make_source(
    geometry: Geometry, shape_zyx: tuple[int, int, int] = SHAPE, *, is_multi_frame: bool = False
) -> SourceSeries:
    """Return the images of a scan; frames of one instance are stored from the highest down."""
    affine = geometry.compute_affine_lps()
    places = [_triple((affine @ (0, 0, z, 1))[:3]) for z in range(shape_zyx[0])]
    frames: list[tuple[str, int | None]] = [
        ("1.2.6", len(places) - z) if is_multi_frame else (f"1.2.6.{z}", None) for z in range(len(places))
    ]
    return SourceSeries(
        study_uid="1.2.3",
        series_uid="1.2.4",
        frame_of_reference_uid="1.2.5",
        sop_class_uid=_ENHANCED_CT if is_multi_frame else _CT,
        rows=shape_zyx[1],
        columns=shape_zyx[2],
        spacing_yx_mm=geometry.spacing_zyx_mm[1:],
        row_direction=geometry.row_direction,
        column_direction=geometry.column_direction,
        images=tuple(SourceImage(uid, place, frame) for (uid, frame), place in zip(frames, places, strict=True)),
    )


def make_labels(shape_zyx: tuple[int, int, int] = SHAPE, *, seed: int = 1) -> npt.NDArray[np.uint8]:
    """Return blocks of organs, some of them in some slices only, and none in the first slice."""
    labels = np.zeros(shape_zyx, np.uint8)
    labels[1:-2, 1:5, 2:7] = 10
    labels[3:, 5:9, 2:7] = 14
    labels[2:6, 6:8, 9:12] = 51
    labels[5, 3, 4:11] = 92
    labels[4, 2, 14] = 79
    is_kept = np.random.default_rng(seed).random(shape_zyx) < 0.8
    return np.where(is_kept, labels, 0).astype(np.uint8)


def make_organs(labels: npt.NDArray[np.uint8], geometry: Geometry = AXIAL) -> Organs:
    return Organs(labels, geometry, list_segments(labels, NAMES), "cd" * 32)


def make_provenance(source: SourceSeries) -> Provenance:
    return Provenance(MAKER, source, MADE_AT)


def _triple(values: npt.NDArray[np.float64]) -> Triple:
    first, second, third = (float(value) for value in values)
    return (first, second, third)
