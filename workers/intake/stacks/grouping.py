"""Divides images into stacks. The order of files never matters: everything is sorted by content first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from workers.intake.dicom.header import Image
from workers.intake.notices import Notice
from workers.intake.stacks.stack import Stack

SAME_POSITION_MM = 0.01
_COSINE_TOLERANCE = 1e-3

PixelDigest = Callable[[Image], bytes]

_REPEAT_KEYS: tuple[tuple[str, Callable[[Image], Hashable]], ...] = (
    ("acquisition", lambda image: image.technique.acquisition),
    ("temporal_position", lambda image: image.technique.temporal_position),
    ("kilovolts", lambda image: image.technique.kilovolts),
    ("image_type", lambda image: image.technique.image_type),
)
"""What may tell images apart that lie at the same position, in the order in which it is tried."""


@dataclass(frozen=True)
class Grouping:
    """Stacks, and the images that take no part because another one holds the same."""

    stacks: tuple[Stack, ...]
    duplicates: tuple[Image, ...]


def group_into_stacks(images: Iterable[Image], digest_pixels: PixelDigest) -> Grouping:
    """Return the stacks of all images, in an order that depends on their content alone.

    `digest_pixels` is asked only for images that claim the same SOPInstanceUID.
    """
    kept, duplicates, conflicts = _remove_duplicates(sorted(images, key=_order), digest_pixels)
    stacks: list[Stack] = []
    for group in _divide(kept, _get_key).values():
        for oriented in _divide_by_orientation(group):
            stacks.extend(_divide_repeats(oriented))
    marked = [_mark(stack, conflicts, duplicates) for stack in stacks]
    return Grouping(tuple(marked), tuple(duplicates))


def _order(image: Image) -> tuple[Hashable, ...]:
    identity, placement = image.identity, image.placement
    return (
        identity.study_uid,
        identity.series_uid,
        placement.row_direction,
        placement.column_direction,
        image.height_mm,
        placement.position_mm,
        identity.instance_uid,
        image.frame,
        image.crc32,
    )


def _get_key(image: Image) -> Hashable:
    technique = image.technique
    return (
        image.identity.study_uid,
        image.identity.series_uid,
        image.identity.frame_of_reference_uid,
        image.pixels.rows,
        image.pixels.columns,
        tuple(round(spacing, 4) for spacing in image.placement.spacing_yx_mm),
        technique.kernel,
        technique.is_derived_view,
    )


def _divide(images: Iterable[Image], key: Callable[[Image], Hashable]) -> dict[Hashable, list[Image]]:
    groups: dict[Hashable, list[Image]] = defaultdict(list)
    for image in images:
        groups[key(image)].append(image)
    return groups


def _divide_by_orientation(images: Sequence[Image]) -> list[list[Image]]:
    """Divide by direction cosines, which some scanners round differently from slice to slice."""
    groups: list[list[Image]] = []
    for image in images:
        near = (group for group in groups if _is_parallel(group[0], image))
        group = next(near, None)
        if group is None:
            groups.append([image])
        else:
            group.append(image)
    return groups


def _is_parallel(first: Image, second: Image) -> bool:
    one = (*first.placement.row_direction, *first.placement.column_direction)
    other = (*second.placement.row_direction, *second.placement.column_direction)
    return all(abs(a - b) <= _COSINE_TOLERANCE for a, b in zip(one, other, strict=True))


def _divide_repeats(images: Sequence[Image]) -> list[Stack]:
    """Divide images that lie at the same positions by what tells them apart; the leftover repeats are dropped."""
    ordered = sorted(images, key=lambda image: (_height_along(images[0], image), _order(image)))
    if not _has_repeats(ordered):
        return [Stack(tuple(ordered))]
    for _, key in _REPEAT_KEYS:
        groups = _divide(ordered, key)
        if len(groups) > 1:
            return [stack for group in groups.values() for stack in _divide_repeats(group)]
    return [_drop_repeats(ordered)]


def _height_along(reference: Image, image: Image) -> float:
    return sum(a * b for a, b in zip(reference.normal, image.placement.position_mm, strict=True))


def _has_repeats(ordered: Sequence[Image]) -> bool:
    return any(b.height_mm - a.height_mm < SAME_POSITION_MM for a, b in pairwise(ordered))


def _drop_repeats(ordered: Sequence[Image]) -> Stack:
    kept = [ordered[0]]
    for image in ordered[1:]:
        if image.height_mm - kept[-1].height_mm >= SAME_POSITION_MM:
            kept.append(image)
    dropped = len(ordered) - len(kept)
    warning = Notice("duplicate_positions", {"dropped": dropped})
    return Stack(tuple(kept), (warning,))


def _remove_duplicates(
    ordered: Sequence[Image], digest_pixels: PixelDigest
) -> tuple[list[Image], list[Image], set[str]]:
    """Return the images to keep, those that another one equals, and the UIDs that different images claim."""
    claims: dict[Hashable, list[Image]] = defaultdict(list)
    for image in ordered:
        claims[(image.identity.instance_uid, image.frame) if image.identity.instance_uid else id(image)].append(image)
    duplicates: list[Image] = []
    conflicts: set[str] = set()
    for claimants in claims.values():
        if len(claimants) > 1:
            if len({digest_pixels(image) for image in claimants}) > 1:
                conflicts.add(claimants[0].identity.instance_uid)
            duplicates.extend(claimants[1:])
    dropped = {id(image) for image in duplicates}
    return [image for image in ordered if id(image) not in dropped], duplicates, conflicts


def _mark(stack: Stack, conflicts: set[str], duplicates: Sequence[Image]) -> Stack:
    """Tell a stack which of its images were there more than once."""
    own = {image.identity.instance_uid for image in stack.images}
    count = sum(image.identity.instance_uid in own for image in duplicates)
    notices = (Notice("duplicate_instances", {"dropped": count}),) if count else ()
    return Stack(stack.images, (*stack.notices, *notices), tuple(sorted(own & conflicts)))
