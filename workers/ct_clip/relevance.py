"""What each token adds to the score of a finding: exact, from the codes alone, without a second run of the network.

Papers:  Zhou et al., "Learning Deep Features for Discriminative Localization" (class activation mapping), CVPR 2016,
         arXiv 1512.04150: behind a pooling and a linear layer, a score is a sum over places. Ali et al., "XAI for
         Transformers: Better Explanations through Conservative Propagation", ICML 2022, arXiv 2202.07304: the sum stays
         whole behind a norm whose divisor is held.
Ours:    the projection of CT-CLIP has weights of its own for each place in the plane, so even a healthy chest has a
         strong map. A map tells what a token adds beyond a reference: the mean healthy token of that place.

A latent before its norm is `raw` = sum over t, h, w of W[h, w] token[t, h, w] / t. A score that is a direction times
`raw` is therefore a sum over tokens. Of one volume, codes are (t, h, w), tokens (t, h, w, d) and maps (findings, t, h,
w); t counts slabs from the feet, h from the patient's right, w from the front. Contributions are in log-odds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from model_weights.catalogue import ModelEntry
from model_weights.loading import load_tensors
from shared.errors import Defect
from workers.ct_clip.ctvit import CodeBook
from workers.ct_clip.image_tower import ImageTower

ROLE = "relevance_reference"
"""File of an entry, which it may lack, with the healthy tokens."""

TOLERANCE = 1e-3
"""Largest share of a map's summands by which their sum may miss the score: float32 over 13 824 tokens."""

_NEIGHBOURS = 3


@dataclass(frozen=True)
class Relevance:
    """Maps (findings, t, h, w), and what the reference alone adds (findings,): together, the direction times `raw`."""

    maps: Tensor
    of_reference: Tensor


def compute_raw_latent(tower: ImageTower, codes: Tensor) -> Tensor:
    """Return the latent (dim_latent,) of one volume's codes as it is before its norm."""
    raw: Tensor = tower.projection(tower.encoder.code_book(codes).mean(dim=0).flatten())
    return raw


def compute_relevance(tower: ImageTower, codes: Tensor, directions: Tensor, reference: Tensor) -> Relevance:
    """Return what each token adds, beyond the reference, to scores along directions (findings, dim_latent) of `raw`.

    The reference is (t, h, w, d), or (1, h, w, d) for one that is the same in all slabs. Raises Defect when a map and
    its score are apart by more than rounding. Five findings at the published size take 0.22 s on two cores
    (`python -m benchmarks.relevance speed`), most of it for reading the projection.
    """
    weight, slabs = tower.projection.weight, len(codes)
    by_place = (directions @ weight).view(len(directions), *codes.shape[1:], -1) / slabs  # (findings, h, w, d)
    maps = torch.stack(
        [
            _weigh(by_place, tower.encoder.code_book(slab) - healthy)
            for slab, healthy in zip(codes, reference.expand(slabs, -1, -1, -1), strict=True)
        ],
        dim=1,
    )
    of_reference = _weigh(by_place, reference.mean(dim=0)).sum(dim=(1, 2)) * slabs
    _require_whole(maps, of_reference, directions @ compute_raw_latent(tower, codes))
    return Relevance(maps, of_reference)


def make_reference(code_book: CodeBook, codes: Iterable[Tensor]) -> dict[str, Tensor]:
    """Return what is kept of healthy studies, given as batches of codes (b, t, h, w): the mean token of each place.

    It is the content of the file of role `relevance_reference`: `tokens`, float16 (t, h, w, d).
    """
    total, count = torch.zeros(()), 0
    for batch in codes:
        total = total + torch.stack([code_book(each).double() for each in batch]).sum(dim=0)
        count += len(batch)
    if not count:
        raise Defect("a reference of relevance needs at least one healthy study")
    return {"tokens": (total / count).half()}


def load_reference(entry: ModelEntry, tower: ImageTower, slabs: int) -> Tensor | None:
    """Return an entry's healthy tokens (slabs or 1, h, w, d) in float32, where the tower is; None when it has none."""
    if ROLE not in entry.files:
        return None
    tokens = load_tensors(entry.get_file(ROLE), tower.projection.weight.device)["tokens"].float()
    shape = tower.encoder.shape
    of_slab = (shape.grid_size, shape.grid_size, shape.dim)
    if tokens.shape not in [(slabs, *of_slab), (1, *of_slab)]:
        raise Defect(f"the reference of relevance of model {entry.name} is of another grid than its image tower")
    return tokens


def make_own_reference(code_book: CodeBook, codes: Tensor) -> Tensor:
    """Return a reference (1, h, w, d) from the volume itself: the mean of each column of tokens and its neighbours.

    For weights without a healthy reference. It takes away what is the same all along the body, so a finding that is
    as well (an effusion in every slab) is shown too weak.
    """
    columns = code_book(codes).mean(dim=0).movedim(-1, 0)[None]  # (1, d, h, w)
    smooth = functional.avg_pool2d(columns, _NEIGHBOURS, stride=1, padding=1, count_include_pad=False)
    return smooth.movedim(1, -1)


def _weigh(by_place: Tensor, tokens: Tensor) -> Tensor:
    """Return (findings, h, w) of weights (findings, h, w, d) and tokens (h, w, d)."""
    return torch.einsum("fhwd,hwd->fhw", by_place, tokens)


def _require_whole(maps: Tensor, of_reference: Tensor, scores: Tensor) -> None:
    sums = maps.sum(dim=(1, 2, 3)) + of_reference
    summands = maps.abs().sum(dim=(1, 2, 3)) + of_reference.abs()
    error = float(((sums - scores).abs() / summands.clamp(min=1)).max())
    if not error <= TOLERANCE:
        raise Defect(f"a relevance map does not add up to its score: it is off by {error:.2g} of its summands")
