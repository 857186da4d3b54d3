"""Divides images into stacks. The order of files never matters: everything is sorted by content first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

from workers.intake.dicom.header import Image
from workers.intake.notices import Notice
from workers.intake.stacks.repeats import UNREADABLE, PixelDigest, part_repeats
from workers.intake.stacks.stack import Stack

_COSINE_TOLERANCE = 1e-3
_PIXEL_SPACING_TOLERANCE_MM = 1e-3
_GROUPS_LOOKED_AT = 64


@dataclass(frozen=True)
class Grouping:
    """Stacks, and the images that take no part because another one holds the same."""

    stacks: tuple[Stack, ...]
    duplicates: tuple[Image, ...]


def group_into_stacks(images: Iterable[Image], digest_pixels: PixelDigest) -> Grouping:
    """Return the stacks of all images, in an order that depends on their content alone.

    `digest_pixels` is asked only for images that claim the same SOPInstanceUID, or that lie at the same position with
    nothing in their headers to tell them apart.
    """
    kept, duplicates, conflicts = _remove_duplicates(sorted(images, key=order_by_content), digest_pixels)
    stacks: list[Stack] = []
    for group in _divide(kept, _get_key).values():
        for alike in _divide_by_spacing(group):
            for oriented in _divide_by_orientation(alike):
                parted, repeats = part_repeats(oriented, digest_pixels)
                stacks.extend(parted)
                duplicates.extend(repeats)
    marked = [_mark(stack, conflicts, duplicates) for stack in stacks]
    return Grouping(tuple(marked), tuple(duplicates))


def order_by_content(image: Image) -> tuple[Hashable, ...]:
    """Return a key that sorts images the same way whatever the order and the names of their files."""
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
        technique.kernel,
        technique.is_derived_view,
    )


def _divide(images: Iterable[Image], key: Callable[[Image], Hashable]) -> dict[Hashable, list[Image]]:
    groups: dict[Hashable, list[Image]] = defaultdict(list)
    for image in images:
        groups[key(image)].append(image)
    return groups


def _divide_by_spacing(images: Sequence[Image]) -> list[list[Image]]:
    """Divide by the size of the pixels, which some scanners round differently from slice to slice."""
    groups = [list(images)]
    for axis in (0, 1):
        groups = [part for group in groups for part in _divide_at_steps(group, axis)]
    return groups


def _divide_at_steps(images: Sequence[Image], axis: int) -> list[list[Image]]:
    """Divide where no image bridges two values of the pixel spacing; the parts keep the order of the images."""
    values = sorted({image.placement.spacing_yx_mm[axis] for image in images})
    part_of, part = {}, 0
    for before, value in zip([values[0], *values], values, strict=False):
        part += value - before > _PIXEL_SPACING_TOLERANCE_MM
        part_of[value] = part
    return list(_divide(images, lambda image: part_of[image.placement.spacing_yx_mm[axis]]).values())


def _divide_by_orientation(images: Sequence[Image]) -> list[list[Image]]:
    """Divide by direction cosines, which some scanners round differently from slice to slice.

    The images are sorted by them, so a group that fits is among the latest: a study with thousands of orientations
    must not take the square of that.
    """
    groups: list[list[Image]] = []
    for image in images:
        near = (group for group in reversed(groups[-_GROUPS_LOOKED_AT:]) if _is_parallel(group[0], image))
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


def _remove_duplicates(
    ordered: Sequence[Image], digest_pixels: PixelDigest
) -> tuple[list[Image], list[Image], set[tuple[str, str]]]:
    """Return the images to keep, those that another one equals, and the UIDs that different images claim."""
    claims: dict[Hashable, list[Image]] = defaultdict(list)
    for image in ordered:
        claims[(*_get_claim(image), image.frame) if image.identity.instance_uid else id(image)].append(image)
    duplicates: list[Image] = []
    conflicts: set[tuple[str, str]] = set()
    for claimants in claims.values():
        if len(claimants) > 1:
            digests = {id(image): digest_pixels(image) for image in claimants}
            if _lie_apart(claimants) or len(set(digests.values()) - {UNREADABLE}) > 1:
                conflicts.add(_get_claim(claimants[0]))
            # A copy that came through whole stands for one that did not.
            _, *others = sorted(claimants, key=lambda image: digests[id(image)] == UNREADABLE)
            duplicates.extend(others)
    dropped = {id(image) for image in duplicates}
    return [image for image in ordered if id(image) not in dropped], duplicates, conflicts


def _get_claim(image: Image) -> tuple[str, str]:
    return image.identity.series_uid, image.identity.instance_uid


def _lie_apart(claimants: Sequence[Image]) -> bool:
    """Whether images of one UID lie or are scaled differently."""
    placements = {
        (*(round(value, 3) for value in one.position_mm), one.slope, one.intercept)
        for one in (image.placement for image in claimants)
    }
    return len(placements) > 1


def _mark(stack: Stack, conflicts: set[tuple[str, str]], duplicates: Sequence[Image]) -> Stack:
    """Tell a stack which of its images were there more than once, and what is odd about how it was scanned."""
    own = {_get_claim(image) for image in stack.images if image.identity.instance_uid}
    count = sum(_get_claim(image) in own for image in duplicates)
    notices = list(stack.notices)
    if count:
        notices.append(Notice("duplicate_instances", {"dropped": count}))
    if stack.technique.has_contrast:
        notices.append(Notice("contrast_medium"))
    if stack.technique.described.is_expiration:
        notices.append(Notice("expiration"))
    uids = sorted(uid for _, uid in own & conflicts)
    return replace(stack, notices=tuple(notices), conflicts=tuple(uids))
