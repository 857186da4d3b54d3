"""Images of one orientation that lie at the same places: phases, energies and stations are told apart."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from workers.intake.dicom.header import Image
from workers.intake.notices import Notice
from workers.intake.stacks.geometry import REGULAR_SHARE, Numbers, compute_axes
from workers.intake.stacks.stack import Stack

SAME_POSITION_MM = 0.01
_JUNCTION_SHARE = 0.2  # stations of one scan overlap by a few slices, phases by nearly all
_INTERLEAVED_SHARE = 0.5
_FEWEST_IN_PHASE = 3
_JUMP_SHARE = 1.5  # of every other step: what is hardly longer may as well be a missing slice

PixelDigest = Callable[[Image], bytes]
"""Returns a digest over the stored values of an image, however they are written; `UNREADABLE` for a damaged one."""

UNREADABLE = b""
_Key = Callable[[Image], Hashable]

_KEYS: tuple[tuple[str, _Key], ...] = (
    ("acquisition", lambda image: image.technique.acquisition),
    ("temporal_position", lambda image: image.technique.temporal_position),
    ("kilovolts", lambda image: image.technique.kilovolts),
    ("image_type", lambda image: image.technique.image_type),
    ("slice_thickness", lambda image: round(image.technique.thickness_mm or 0.0, 2)),
    ("contrast", lambda image: image.technique.has_contrast),
)
"""What may tell images apart that lie at the same position, in the order in which it is tried."""


@dataclass(frozen=True)
class _Slices:
    """Images in the order of ascending position, and to which position each belongs; positions count from 0."""

    images: tuple[Image, ...]
    heights: Numbers
    places: tuple[int, ...]

    @property
    def has_repeats(self) -> bool:
        return self.places[-1] + 1 < len(self.images)


def part_repeats(images: Sequence[Image], digest_pixels: PixelDigest) -> tuple[list[Stack], list[Image]]:
    """Return stacks without repeated positions, and the images that another one at the same position equals.

    Images are parted by the first key that tells apart most of those at the same positions. Where two acquisitions
    merely overlap at a junction, they stay one stack, and the one with most slices is kept at the overlap. The images
    must be sorted by their content.
    """
    slices = _sort(images)
    if not slices.has_repeats:
        interleaved = _find_interleaved(slices)
        return _part(slices, *interleaved, digest_pixels) if interleaved else ([Stack(slices.images)], [])
    for name, key in _KEYS:
        share = _measure_overlap(slices, key)
        if share > _JUNCTION_SHARE:
            return _part(slices, name, key, digest_pixels)
        if share > 0:
            return _keep_largest(slices, name, key, digest_pixels)
    return _merge_equals(slices, digest_pixels)


def _sort(images: Sequence[Image]) -> _Slices:
    normal = compute_axes(images)[2]
    heights = np.asarray([image.placement.position_mm for image in images]) @ normal
    order = np.argsort(heights, kind="stable")
    places, place, start = [], -1, -np.inf
    for height in heights[order]:
        if height - start >= SAME_POSITION_MM:
            place, start = place + 1, height
        places.append(place)
    return _Slices(tuple(images[index] for index in order), heights[order], tuple(places))


def _measure_overlap(slices: _Slices, key: _Key) -> float:
    """Return which part of the smallest group lies where another group lies too; 0 when the key tells none apart."""
    groups = [{slices.places[index] for index in group} for group in _divide(slices, key).values()]
    counts = Counter(place for group in groups for place in group)
    shares = [sum(counts[place] > 1 for place in group) / len(group) for group in groups]
    return max(shares)


def _divide(slices: _Slices, key: _Key) -> dict[Hashable, list[int]]:
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for index, image in enumerate(slices.images):
        groups[key(image)].append(index)
    return groups


def _part(slices: _Slices, name: str, key: _Key, digest: PixelDigest) -> tuple[list[Stack], list[Image]]:
    groups = _divide(slices, key)
    notice = Notice("duplicate_positions", {"parted_by": name, "stacks": len(groups)})
    stacks: list[Stack] = []
    equals: list[Image] = []
    for group in groups.values():
        parted, repeats = part_repeats([slices.images[index] for index in group], digest)
        stacks.extend(replace(stack, notices=(notice, *stack.notices)) for stack in parted)
        equals.extend(repeats)
    return stacks, equals


def _keep_largest(slices: _Slices, name: str, key: _Key, digest: PixelDigest) -> tuple[list[Stack], list[Image]]:
    """Keep, where groups of a key overlap, only the images of the largest one; the rest stays one stack."""
    # Ties go to the group that begins lower, everywhere.
    sizes = {value: (len(group), -group[0]) for value, group in _divide(slices, key).items()}
    best: dict[int, Hashable] = {}
    for place, image in zip(slices.places, slices.images, strict=True):
        best[place] = max(best.get(place, key(image)), key(image), key=lambda value: sizes[value])
    kept = [image for place, image in zip(slices.places, slices.images, strict=True) if key(image) == best[place]]
    notice = Notice("duplicate_positions", {"dropped": len(slices.images) - len(kept), "kept_by": name})
    stacks, equals = part_repeats(kept, digest)
    return [replace(stack, notices=(notice, *stack.notices)) for stack in stacks], equals


def _merge_equals(slices: _Slices, digest: PixelDigest) -> tuple[list[Stack], list[Image]]:
    """Drop the images that another one at their position makes needless; part the others by their number.

    It equals them, or they are damaged and it is not.
    """
    kept: list[Image] = []
    needless: list[Image] = []
    for group in _group_by_place(slices):
        best, others = _choose_different(group, digest)
        kept.extend(best)
        needless.extend(others)
    rest = _sort(kept)
    stacks = _part_by_number(rest, digest) if rest.has_repeats else [Stack(rest.images)]
    if needless:
        notice = Notice("duplicate_positions", {"dropped": len(needless), "have_equal_pixels": True})
        stacks = [replace(stack, notices=(notice, *stack.notices)) for stack in stacks]
    return stacks, needless


def _choose_different(group: Sequence[Image], digest: PixelDigest) -> tuple[list[Image], list[Image]]:
    """Return the first of each picture at one position, and the others; a damaged one only where all are."""
    if len(group) == 1:
        return list(group), []
    firsts: dict[bytes, Image] = {}
    for image in group:
        firsts.setdefault(digest(image), image)
    if len(firsts) > 1:
        firsts.pop(UNREADABLE, None)
    kept = list(firsts.values())
    return kept, [image for image in group if not any(image is one for one in kept)]


def _group_by_place(slices: _Slices) -> list[list[Image]]:
    groups: list[list[Image]] = [[] for _ in range(slices.places[-1] + 1)]
    for place, image in zip(slices.places, slices.images, strict=True):
        groups[place].append(image)
    return groups


def _part_by_number(slices: _Slices, digest: PixelDigest) -> list[Stack]:
    """Part phases that InstanceNumber alone tells apart. Nothing else does: phases are never mixed, but refused.

    A few repeats are strays, or the junctions of stations, and one stack is made of them.
    """
    groups = _group_by_place(slices)
    repeated = [place for place, group in enumerate(groups) if len(group) > 1]
    if len(repeated) <= max(1, _JUNCTION_SHARE * len(groups)):
        return [_keep_fitting(groups, repeated)]
    phases = _find_phases(slices)
    if phases is None:
        return [_contest(groups, repeated)]
    stacks, _ = _part(slices, "instance_number", lambda image: phases[image.technique.instance_number], digest)
    return stacks


def _keep_fitting(groups: Sequence[Sequence[Image]], repeated: Sequence[int]) -> Stack:
    """Keep at each place the image whose number goes on from those around it, without numbers the first.

    Without numbers, repeats at every so many places are a phase of fewer slices: nothing tells the two apart.
    """
    is_told = all(_are_numbered(groups[place]) for place in repeated)
    if not is_told and _is_every_so_many(repeated):
        return _contest(groups, repeated)
    singles = [place for place, group in enumerate(groups) if len(group) == 1]
    return _keep_one_each(groups, [_choose_fitting(groups, place, singles) for place in range(len(groups))])


def _choose_fitting(groups: Sequence[Sequence[Image]], place: int, singles: Sequence[int]) -> Image:
    """Return the image whose number is nearest to that of the next place below or above that has one image."""
    group = groups[place]
    if len(group) == 1 or not _are_numbered(group):
        return group[0]
    above = bisect_right(singles, place)
    around = [groups[other][0].technique.instance_number for other in singles[max(0, above - 1) : above + 1]]
    numbers = [number for number in around if number is not None]
    return min(group, key=lambda image: sorted(abs((image.technique.instance_number or 0) - each) for each in numbers))


def _are_numbered(group: Sequence[Image]) -> bool:
    numbers = {image.technique.instance_number for image in group}
    return None not in numbers and len(numbers) == len(group)


def _is_every_so_many(places: Sequence[int]) -> bool:
    steps = np.diff(places)
    return len(places) >= _FEWEST_IN_PHASE and bool(steps.min() > 1) and _is_regular(np.asarray(places, float))


def _contest(groups: Sequence[Sequence[Image]], repeated: Sequence[int]) -> Stack:
    """Return a stack that tells where nothing says which of several images is the right one."""
    stack = _keep_one_each(groups, [group[0] for group in groups])
    return replace(stack, contested_mm=tuple(groups[place][0].height_mm for place in repeated))


def _keep_one_each(groups: Sequence[Sequence[Image]], kept: Sequence[Image]) -> Stack:
    return Stack(tuple(kept), (Notice("duplicate_positions", {"dropped": sum(map(len, groups)) - len(kept)}),))


def _find_phases(slices: _Slices) -> dict[int | None, int] | None:
    """Return the phase of each InstanceNumber, or None when the numbers do not tell."""
    numbers = [image.technique.instance_number for image in slices.images]
    if None in numbers or len(set(numbers)) < len(numbers):
        return None
    return _part_one_after_another(slices) or _part_place_by_place(slices)


def _part_one_after_another(slices: _Slices) -> dict[int | None, int] | None:
    """Walk in the order of numbers; a new phase begins at the jump before a position repeats.

    None when that takes more phases than there are images at any position, or when no jump stands out.
    """
    numbers = [image.technique.instance_number for image in slices.images]
    walk = sorted(range(len(numbers)), key=lambda index: numbers[index] or 0)
    most = max(Counter(slices.places).values())
    steps = _measure_steps(slices.heights[walk], most)
    starts, passed = [0], dict[int, int]()
    for position, index in enumerate(walk):
        before = passed.get(slices.places[index], -1)
        if before >= starts[-1]:
            jump = _find_jump(steps[before:position])
            if jump is None or len(starts) == most:
                return None
            starts.append(before + 1 + jump)
        passed[slices.places[index]] = position
    return {numbers[index]: bisect_right(starts, position) for position, index in enumerate(walk)}


def _measure_steps(heights: Numbers, phases: int) -> Numbers:
    """Return how long each step is; in phases that all run one way, how far it is from the usual one."""
    steps = np.diff(heights)
    usual = np.median(steps)
    runs_one_way = np.count_nonzero(steps * usual < 0) < phases
    return np.abs(steps - usual) if runs_one_way else np.abs(steps)


def _find_jump(steps: Numbers) -> int | None:
    """Return which step is clearly longer than every other one."""
    longest = int(np.argmax(steps))
    others = np.delete(steps, longest)
    return longest if not len(others) or steps[longest] > _JUMP_SHARE * others.max() else None


def _part_place_by_place(slices: _Slices) -> dict[int | None, int] | None:
    """Part phases of which every position has the same number of images; the lowest number is of the first."""
    groups = [[image.technique.instance_number for image in group] for group in _group_by_place(slices)]
    if len({len(group) for group in groups}) > 1:
        return None
    return {number: phase for group in groups for phase, number in enumerate(sorted(group, key=lambda one: one or 0))}


def _find_interleaved(slices: _Slices) -> tuple[str, _Key] | None:
    """Return the key by which phases lie between each other: each evenly spaced, but not all together."""
    if _is_regular(slices.heights):
        return None
    return next(((name, key) for name, key in _KEYS if _is_interleaved_by(slices, key)), None)


def _is_interleaved_by(slices: _Slices, key: _Key) -> bool:
    groups = [slices.heights[group] for group in _divide(slices, key).values()]
    if len(groups) < 2 or any(len(group) < _FEWEST_IN_PHASE or not _is_regular(group) for group in groups):
        return False
    groups.sort(key=lambda group: (group[0], group[-1]))
    overlaps = [min(one[-1], two[-1]) - two[0] for one, two in pairwise(groups)]
    shortest = min(group[-1] - group[0] for group in groups)
    return bool(min(overlaps) > _INTERLEAVED_SHARE * shortest)


def _is_regular(heights: Numbers) -> bool:
    steps = np.diff(heights)
    if not len(steps):
        return True
    median = float(np.median(steps))
    return bool(np.abs(steps - median).max() <= REGULAR_SHARE * median)
