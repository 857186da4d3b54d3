"""Batches for the demo fVLM: studies as the stage prepares them, through masks with errors, and crops of them.

Axes are (z, y, x). Crops are of whole tokens but begin at any voxel, and know where in the study they lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from training.augmentation import draw_noise
from training.fvlm.examples import Example
from training.fvlm.masks import SegmenterErrors, spoil_masks
from training.fvlm.plan import TAUGHT
from workers.fvlm.configuration import GeometryKind, Preprocessing, Triple
from workers.fvlm.items import ITEMS_FILE, read_items
from workers.fvlm.organs import ORGANS, LabelMap, Organ, merge_labels
from workers.fvlm.preprocess import Study, plan_lengths, prepare_study, resample

ITEMS = read_items(ITEMS_FILE)
TAUGHT_ITEMS = tuple(item for item in ITEMS if item.finding in TAUGHT)
"""What is learnt, in the order of the items; targets and places have one row for each."""

_FLIPPED = (0.0, 0.0, 0.1)
"""How often each axis is turned round. Where lung ends and wall begins is learnt from where a token lies."""

_LOOKED_AT = (Organ.LUNG, Organ.LUNG, Organ.HEART, Organ.AORTA)
"""Organs that a crop is laid around where no item is wanted, as often as they stand here."""

_MOST_NOISE = 0.015
_MOST_STRETCH, _MOST_OFFSET = 0.03, 0.01
_FEWEST_VOXELS = 2
"""A token holds a finding when it holds so many voxels of it; with fewer it is not told."""

_SEEN_SHARE, _SEEN_TOKENS = 0.25, 6
"""A finding is seen when so many tokens of it, or this share of them, are."""


@dataclass(frozen=True)
class Prepared:
    """A study on the grid of the model: `hu` int16, `labels` of TotalSegmentator, `places` as bits of (items, z, y, x).

    `has_item` says which taught items are there.
    """

    seed: int
    hu: npt.NDArray[np.int16]
    labels: LabelMap
    places: npt.NDArray[np.uint8]
    has_item: npt.NDArray[np.bool_]

    def unpack_places(self) -> Tensor:
        """Return where each item that is there lies, bool (present items, z, y, x)."""
        shape = (int(self.has_item.sum()), *self.hu.shape)
        return torch.from_numpy(np.unpackbits(self.places, count=int(np.prod(shape))).astype(bool).reshape(shape))


@dataclass(frozen=True)
class View:
    """One look at a study: `image` 0..1 as the stage would make it, and where its items lie in it.

    `organs` (masks, z, y, x) are those that the window was cut by, and what other errors would have left.
    """

    image: Tensor
    organs: Tensor
    places: Tensor
    has_item: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Batch:
    """`crops` (b, 1, z, y, x); `centres` (b, tz, ty, tx, 3) of tokens in the study, as (x, y, z) from -1 to 1;

    `organs` bool (b, organs, n) tokens of each; `places` (b, items, n): 1 where an item is, 0 where not, NaN where it
    is not told; `targets` and `weights` (b, items).
    """

    crops: Tensor
    centres: Tensor
    organs: Tensor
    places: Tensor
    targets: Tensor
    weights: Tensor


def prepare_example(example: Example, preprocessing: Preprocessing) -> Prepared:
    """Bring a study to the grid of the model, and cut away what no window will hold."""
    volume = example.volume
    lengths = plan_lengths(volume.hu.shape, volume.geometry.spacing_zyx_mm, preprocessing.spacing_mm)
    values, labels = resample(volume.hu, example.labels, lengths)
    box = _find_kept(labels.numpy(), preprocessing)
    present = [name for item in TAUGHT_ITEMS for name in [item.finding] if _has(example, name)]
    places = [_gather_places(example, name, lengths)[box] for name in present] if example.places is not None else []
    return Prepared(
        example.seed,
        values[box].round().to(torch.int16).numpy(),
        labels[box].numpy(),
        np.packbits(np.stack(places) if places else np.zeros(0, bool)),
        np.asarray([item.finding in present for item in TAUGHT_ITEMS]),
    )


def make_view(
    study: Prepared, preprocessing: Preprocessing, errors: SegmenterErrors, rng: np.random.Generator, masks: int = 1
) -> View:
    """Look at a study through masks with errors, some axes turned round."""
    organs = np.stack([spoil_masks(study.labels, study.hu, errors, rng) for _ in range(masks)])
    seen = prepare_study(study.hu, organs[0], preprocessing.spacing_mm, preprocessing)
    turned = [axis for axis, share in enumerate(_FLIPPED) if rng.random() < share]
    along = [axis + 1 for axis in turned]
    return View(
        seen.image.flip(turned),
        _follow(torch.from_numpy(organs), seen).flip(along),
        _follow(study.unpack_places(), seen).flip(along),
        study.has_item,
    )


def make_batch(
    views: Sequence[View], wanted: Sequence[int | None], tokens: Triple, patch: Triple, rng: np.random.Generator
) -> Batch:
    """Return one crop of each view: around the wanted item (its number), or else around a voxel of any organ."""
    parts = [_crop(view, item, tokens, patch, rng) for view, item in zip(views, wanted, strict=True)]
    crops, *others = (torch.stack(column) for column in zip(*parts, strict=True))
    return Batch(disturb(crops, rng), *others)


def disturb(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Return images (b, 1, z, y, x) in 0..1 with noise, other contrast and another offset."""
    shape = (len(images), 1, 1, 1, 1)
    noise = draw_noise(images.shape, rng)
    level, offset = rng.uniform(0, _MOST_NOISE, shape), rng.uniform(-_MOST_OFFSET, _MOST_OFFSET, shape)
    stretch = rng.uniform(1 - _MOST_STRETCH, 1 + _MOST_STRETCH, shape)
    disturbed = images * torch.from_numpy(stretch).float() + torch.from_numpy(offset).float()
    disturbed = (disturbed + noise * torch.from_numpy(level).float()).clamp(0, 1)
    return torch.where(images == 0, images, disturbed)


def count_in_tokens(voxels: Tensor, patch: Triple) -> Tensor:
    """Return how many voxels of masks bool (masks, z, y, x) each token holds, (masks, n) in the order (z, y, x)."""
    if not len(voxels):  # which pooling refuses
        return torch.zeros(0, int(np.prod([size // edge for size, edge in zip(voxels.shape[1:], patch, strict=True)])))
    return (functional.avg_pool3d(voxels.float()[None], patch)[0] * float(np.prod(patch))).round().flatten(1)


def judge(seen: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    """Return targets and weights of items from how many tokens of each are seen, and how many there are."""
    enough = (_SEEN_SHARE * total).clamp(max=_SEEN_TOKENS).clamp(min=1)
    is_seen = (seen >= enough) & (total > 0)
    is_told = is_seen | (total == 0) | (seen == 0)
    return is_seen.float(), is_told.float()


def list_item_organs() -> list[int]:
    """Return the row of the organ of each taught item."""
    return [item.organ.row for item in TAUGHT_ITEMS]


def _follow(arrays: Tensor, seen: Study) -> Tensor:
    """Cut and fill up arrays (any, z, y, x) as the study was."""
    part = arrays[:, *seen.box]
    missing = [full - size for full, size in zip(seen.image.shape, part.shape[1:], strict=True)]
    return functional.pad(part, [each for lack in reversed(missing) for each in (lack // 2, lack - lack // 2)])


def _has(example: Example, item: str) -> bool:
    return bool(set(TAUGHT[item]) & set(example.findings))


def _find_kept(labels: LabelMap, preprocessing: Preprocessing) -> tuple[slice, slice, slice]:
    organs = merge_labels(labels, GeometryKind.PUBLIC)
    box = []
    for axis, margin in enumerate(preprocessing.margins):
        filled = np.flatnonzero(organs.any(axis=tuple(other for other in range(3) if other != axis)))
        box.append(slice(max(0, int(filled[0]) - margin - 2), int(filled[-1]) + margin + 3))
    z, y, x = box
    return z, y, x


def _gather_places(example: Example, item: str, lengths: Triple) -> npt.NDArray[np.bool_]:
    """Return where an item lies on the grid of the model: where any voxel that falls into one of it does."""
    assert example.places is not None
    rows = [row for row, name in enumerate(example.findings) if name in TAUGHT[item]]
    joined = torch.from_numpy(example.places[rows].any(axis=0)).float()
    return np.asarray(functional.adaptive_max_pool3d(joined[None], lengths)[0] > 0)


def _crop(
    view: View, item: int | None, tokens: Triple, patch: Triple, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    size = [count * edge for count, edge in zip(tokens, patch, strict=True)]
    start = _choose_start(view, item, size, rng)
    box = tuple(slice(low, low + length) for low, length in zip(start, size, strict=True))
    organs = torch.stack(
        [count_in_tokens((view.organs[0][box] == organ.label)[None], patch)[0] > 0 for organ in ORGANS]
    )
    held = count_in_tokens(view.places[:, *box], patch)
    places = torch.where((held > 0) & (held < _FEWEST_VOXELS), torch.nan, (held > 0).float())
    at_all = torch.from_numpy(view.has_item)
    told = torch.zeros(len(TAUGHT_ITEMS), organs.shape[1])
    told[at_all] = places
    seen, total = torch.zeros(len(TAUGHT_ITEMS)), torch.zeros(len(TAUGHT_ITEMS))
    rows = torch.tensor(list_item_organs())
    seen[at_all] = ((places == 1) & organs[rows[at_all]]).sum(-1).float()
    total[at_all] = view.places.flatten(1).sum(-1) / (np.prod(patch) / 4)
    targets, weights = judge(seen, total)
    weights = weights * organs[rows].any(-1)
    return view.image[box][None], _place_tokens(start, tokens, patch, view.image.shape), organs, told, targets, weights


def _choose_start(view: View, item: int | None, size: Sequence[int], rng: np.random.Generator) -> list[int]:
    present = np.flatnonzero(view.has_item)
    if item is not None and item in present:
        inside = view.places[int(np.flatnonzero(present == item)[0])]
    else:
        inside = view.organs[0] == _LOOKED_AT[int(rng.integers(len(_LOOKED_AT)))].label
    voxels = inside.flatten().nonzero()[:, 0]
    shape = view.image.shape
    # An organ may be lost by the masks: then anywhere.
    index = int(voxels[int(rng.integers(len(voxels)))]) if len(voxels) else int(rng.integers(view.image.numel()))
    centre = [int(each) for each in np.unravel_index(index, shape)]
    jitter = [int(rng.integers(-(each // 4), each // 4, endpoint=True)) for each in size]
    last = [full - part for full, part in zip(shape, size, strict=True)]
    return [
        int(np.clip(middle + move - part // 2, 0, end))
        for middle, move, part, end in zip(centre, jitter, size, last, strict=True)
    ]


def _place_tokens(start: Sequence[int], tokens: Triple, patch: Triple, shape: Sequence[int]) -> Tensor:
    """Return the centres of tokens as parts of the study filled up to whole tokens, from -1 to 1, (z, y, x, 3)."""
    axes = []
    for low, count, edge, size in zip(start, tokens, patch, shape, strict=True):
        full = size + -size % edge
        axes.append((low + edge * (torch.arange(count) + 0.5)) / full * 2 - 1)
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([x, y, z], dim=-1)
