"""A label map as one DICOM segmentation (PS3.3 A.51): a segment for each organ that was found, one bit a voxel.

BINARY, not LABELMAP: the latter is an object of its own since 2024, which many viewers and archives refuse. BINARY has
a frame for each slice of each organ, thousands of them, so highdicom makes the object for all organs together, and
its frames are multiplied here; a test compares the outcome with what highdicom makes of the organs by itself.
The file is deflated (PS3.5 A.5): almost all of its bits are 0.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation, SegmentDescription
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from workers.renderings.codes import get_organ_code
from workers.renderings.deflated import DeflatedFile, encode
from workers.renderings.dicom import (
    MANUFACTURER,
    Provenance,
    complete,
    fit,
    lay_planes,
    make_source_images,
    make_uid,
    name_dimensions,
)
from workers.volume import Geometry

Labels = npt.NDArray[np.uint8]

_SERIES_NUMBER = 9001
_FRAMES_A_PACK = 64
"""A multiple of 8, so that a pack of frames ends with a whole byte."""

_DERIVATION, _CONTENT, _POSITION, _IDENTIFICATION = 0x00089124, 0x00209111, 0x00209113, 0x0062000A
_FRAME_GROUPS, _PIXELS = 0x52009230, 0x7FE00010
_ITEM_TAG = (0xFFFE, 0xE000)
_ITEM = struct.Struct("<HHI")
_INDEX, _SHORT = struct.Struct("<I"), struct.Struct("<H")
_LONG_ELEMENT = struct.Struct("<HH2sHI")


@dataclass(frozen=True)
class Segment:
    """One organ: its number in the label map, and its name there."""

    label: int
    name: str


@dataclass(frozen=True)
class Organs:
    """Labels (z, y, x) on the grid of a volume, what they are called, and the digest that UIDs follow from."""

    labels: Labels
    geometry: Geometry
    segments: Sequence[Segment]
    digest: str


@dataclass(frozen=True)
class _Frame:
    """One slice of one organ; `place` counts the slices that hold any organ."""

    segment: int
    place: int


def list_segments(labels: Labels, names: Mapping[int, str]) -> list[Segment]:
    """Return the organs that a label map holds. Segment i of the object, counted from 1, is the i-th of them."""
    found = np.flatnonzero(np.bincount(labels.ravel()))
    return [Segment(int(label), names[int(label)]) for label in found if label]


def write_segmentation(path: Path, organs: Organs, provenance: Provenance) -> None:
    """Write the object of at least one organ. Equal labels give equal files, but for the time of making."""
    together = replace(organs, labels=(organs.labels > 0).astype(np.uint8), segments=organs.segments[:2])
    template = make_segmentation(together, provenance)
    occupied = organs.labels[_find_slices(template, organs, provenance)]
    frames = _list_frames(occupied, organs.segments)
    groups = b"".join(_encode_groups(template, frames))
    template.SegmentSequence = describe_segments(organs, provenance)
    template.NumberOfFrames = len(frames)
    kind = template["PixelData"].VR.encode()
    del template[_FRAME_GROUPS], template[_PIXELS]
    pixel_bytes = (len(frames) * occupied[0].size + 7) // 8
    with DeflatedFile(path, template.file_meta) as file:
        file.write(encode(template))
        file.write(_begin_element(_FRAME_GROUPS, b"SQ", len(groups)) + groups)
        file.write(_begin_element(_PIXELS, kind, pixel_bytes + pixel_bytes % 2))
        for pack in _pack_frames(occupied, organs.segments, frames):
            file.write(pack)
        file.write(bytes(pixel_bytes % 2))


def make_segmentation(organs: Organs, provenance: Provenance) -> Segmentation:
    """Return an object in memory, by highdicom alone. Labels are 1 for the first of the segments, and so on."""
    planes = lay_planes(provenance.source, organs.geometry, len(organs.labels))
    maker = provenance.maker
    series_uid = make_uid("masks", provenance.source.series_uid, maker.digest)
    made = Segmentation(
        source_images=make_source_images(provenance.source, organs.geometry),
        pixel_array=organs.labels,
        segmentation_type="BINARY",
        segment_descriptions=describe_segments(organs, provenance),
        series_instance_uid=series_uid,
        series_number=_SERIES_NUMBER,
        sop_instance_uid=make_uid("masks", series_uid, organs.digest),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=fit(maker.name),
        software_versions=fit(maker.version),
        device_serial_number=fit(maker.digest),
        content_label="ORGANS",
        content_description=maker.caution,
        series_description=fit(f"Organs by {maker.name}"),
        plane_positions=planes.positions,
        plane_orientation=planes.orientation,
        pixel_measures=planes.measures,
    )
    complete(made, provenance)
    name_dimensions(made)
    return made


def describe_segments(organs: Organs, provenance: Provenance) -> list[SegmentDescription]:
    """Return what the object says of each organ: SNOMED CT code, side, colour, and who found it."""
    maker = provenance.maker
    algorithm = AlgorithmIdentificationSequence(
        name=fit(maker.name),
        family=codes.DCM.ArtificialIntelligence,
        version=fit(maker.version),
        parameters={"weights": maker.digest},
    )
    return [
        _describe(number, segment, algorithm, organs.digest) for number, segment in enumerate(organs.segments, start=1)
    ]


def _describe(
    number: int, segment: Segment, algorithm: AlgorithmIdentificationSequence, digest: str
) -> SegmentDescription:
    code = get_organ_code(segment.name)
    description = SegmentDescription(
        segment_number=number,
        segment_label=segment.name,
        segmented_property_category=code.category,
        segmented_property_type=code.type,
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
        tracking_uid=make_uid("organ", digest, segment.name),
        tracking_id=segment.name,
        anatomic_regions=None if code.region is None else [code.region],
        display_color=CIELabColor.from_rgb(*code.colour),
    )
    if code.modifier is not None:
        (kind,) = description.SegmentedPropertyTypeCodeSequence
        kind.SegmentedPropertyTypeModifierCodeSequence = [CodedConcept.from_code(code.modifier)]
    if code.region_modifier is not None:
        (region,) = description.AnatomicRegionSequence
        region.AnatomicRegionModifierSequence = [CodedConcept.from_code(code.region_modifier)]
    return description


def _find_slices(template: Segmentation, organs: Organs, provenance: Provenance) -> list[int]:
    """Return which slice each frame of the template is; highdicom sorts them by position, and not as we do."""
    planes = lay_planes(provenance.source, organs.geometry, len(organs.labels)).positions
    places = np.array([_get_position(plane[0]) for plane in planes])
    frames = [_get_position(item.PlanePositionSequence[0]) for item in template.PerFrameFunctionalGroupsSequence]
    return [int(np.linalg.norm(places - frame, axis=1).argmin()) for frame in frames]  # its decimals are rounded


def _get_position(plane: Dataset) -> tuple[float, ...]:
    return tuple(float(value) for value in plane.ImagePositionPatient)


def _list_frames(occupied: Labels, segments: Sequence[Segment]) -> list[_Frame]:
    """Return the frames in their order: segment by segment, each with its slices in the order of the template."""
    holds = np.stack([np.bincount(plane.ravel(), minlength=256) > 0 for plane in occupied])
    return [
        _Frame(number, int(place))
        for number, segment in enumerate(segments, start=1)
        for place in np.flatnonzero(holds[:, segment.label])
    ]


def _encode_groups(template: Dataset, frames: Sequence[_Frame]) -> Iterator[bytes]:
    """Yield the functional groups of each frame: those of the template's frame of the slice, for another segment."""
    slices = [_EncodedSlice.split(item) for item in template.PerFrameFunctionalGroupsSequence]
    for frame in frames:
        group = slices[frame.place].join(frame.segment)
        yield _ITEM.pack(*_ITEM_TAG, len(group)) + group


@dataclass(frozen=True)
class _EncodedSlice:
    """The functional groups of a frame as bytes, apart where its segment stands.

    `content` ends with two numbers, the segment's and the slice's; `identification` with the segment's. It is empty
    where there is one segment, which all frames share.
    """

    derivation: bytes
    content: bytes
    position: bytes
    identification: bytes

    @classmethod
    def split(cls, item: Dataset) -> Self:
        """Encode an item of the template."""
        tags = (_DERIVATION, _CONTENT, _POSITION, _IDENTIFICATION)
        return cls(*(encode(_select(item, tag)) for tag in tags))

    def join(self, segment: int) -> bytes:
        """Return the functional groups for one of the segments."""
        slice_number = self.content[-_INDEX.size :]
        content = self.content[: -2 * _INDEX.size] + _INDEX.pack(segment) + slice_number
        identification = self.identification and self.identification[: -_SHORT.size] + _SHORT.pack(segment)
        return self.derivation + content + self.position + identification


def _select(item: Dataset, tag: int) -> Dataset:
    selected = Dataset()
    if tag in item:
        selected.add(item[tag])
    return selected


def _begin_element(tag: int, kind: bytes, length: int) -> bytes:
    return _LONG_ELEMENT.pack(tag >> 16, tag & 0xFFFF, kind, 0, length)


def _pack_frames(occupied: Labels, segments: Sequence[Segment], frames: Sequence[_Frame]) -> Iterator[bytes]:
    """Yield the voxels of the frames as bits, the first of them the lowest."""
    for start in range(0, len(frames), _FRAMES_A_PACK):
        pack = [
            occupied[frame.place] == segments[frame.segment - 1].label
            for frame in frames[start : start + _FRAMES_A_PACK]
        ]
        yield np.packbits(np.stack(pack), bitorder="little").tobytes()
