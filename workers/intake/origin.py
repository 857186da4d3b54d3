"""Which images a volume was made of, for what is made of the volume to refer to. UIDs as received, nothing else."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from workers.intake.dicom.header import Image
from workers.volume.source import SourceImage, SourceSeries

_CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"

_LONGEST_UID = 64
_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")
"""As PS3.5 has it; what is written must keep to it, however tolerant we read."""


def describe_source(
    images: Sequence[Image], unreadable: Collection[Image] = (), *, is_resampled: bool = False
) -> SourceSeries | None:
    """Return the images of a stack, without those that could not be read.

    None where a UID is missing or malformed, and for frames of several instances: nothing could refer to them.
    """
    left_out = {(image.ordinal, image.frame) for image in unreadable}
    used = [image for image in images if (image.ordinal, image.frame) not in left_out]
    first = used[0]
    instances = [image.identity.instance_uid for image in used]
    uids = {first.identity.study_uid, first.identity.series_uid, first.identity.frame_of_reference_uid}
    uids |= {first.identity.sop_class_uid, *instances}
    is_multi_frame = first.identity.sop_class_uid != _CT_IMAGE_STORAGE
    has_clear_instances = len(set(instances)) == (1 if is_multi_frame else len(used))
    if not has_clear_instances or not all(len(uid) <= _LONGEST_UID and _UID.fullmatch(uid) for uid in uids):
        return None
    told = tuple(_describe_image(image, is_multi_frame=is_multi_frame) for image in used)
    return _describe(first, told, is_resampled=is_resampled)


def _describe(first: Image, images: tuple[SourceImage, ...], *, is_resampled: bool) -> SourceSeries:
    identity, placement = first.identity, first.placement
    return SourceSeries(
        study_uid=identity.study_uid,
        series_uid=identity.series_uid,
        frame_of_reference_uid=identity.frame_of_reference_uid,
        sop_class_uid=identity.sop_class_uid,
        rows=first.pixels.rows,
        columns=first.pixels.columns,
        spacing_yx_mm=placement.spacing_yx_mm,
        row_direction=placement.row_direction,
        column_direction=placement.column_direction,
        images=images,
        is_resampled=is_resampled,
    )


def _describe_image(image: Image, *, is_multi_frame: bool) -> SourceImage:
    frame = image.frame + 1 if is_multi_frame else None
    return SourceImage(image.identity.instance_uid, image.placement.position_mm, frame)
