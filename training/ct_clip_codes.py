"""The code book in training: codes begin as clusters of the encoder's tokens and then follow them.

Papers:  van den Oord et al., arXiv 1711.00937 (straight-through gradient, codes as moving averages, commitment);
         Dhillon and Modha, "Concept Decompositions for Large Sparse Text Data Using Clustering", 2001 (k-means by
         direction, as the code book compares).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.ct_clip.ctvit import CodeBook

_DECAY = 0.98
_FEWEST_TOKENS = 0.05
"""A code whose moving count of tokens a step falls below this is given another token to stand for."""

_ROUNDS = 12


class CodeBookTracker(nn.Module):
    """Moving counts and sums of the tokens of each code; `update` writes their means into the code book."""

    counts: Tensor
    sums: Tensor

    def __init__(self, code_book: CodeBook) -> None:
        super().__init__()
        size, dim = code_book.codes.shape
        self._code_book = [code_book]  # in a list, so that its weights are kept with the model only
        self.register_buffer("counts", torch.ones(size))
        self.register_buffer("sums", torch.zeros(size, dim))

    @torch.no_grad()
    def start(self, tokens: Tensor, generator: torch.Generator) -> None:
        """Set the codes to clusters of tokens (n, d)."""
        codes = find_clusters(tokens, len(self.counts), generator)
        self._code_book[0].codes.copy_(codes)
        self.counts.fill_(1.0)
        self.sums.copy_(codes)

    @torch.no_grad()
    def update(self, tokens: Tensor, indices: Tensor, generator: torch.Generator) -> None:
        """Move the codes towards the tokens (n, d) that chose them by `indices` (n)."""
        counts, sums = _add_up(tokens, indices, len(self.counts))
        self.counts.lerp_(counts, 1 - _DECAY)
        self.sums.lerp_(sums, 1 - _DECAY)
        idle = (self.counts < _FEWEST_TOKENS).nonzero()[:, 0]
        chosen = torch.randint(len(tokens), (len(idle),), generator=generator)
        self.counts[idle] = 1.0
        self.sums[idle] = tokens[chosen]
        self._code_book[0].codes.copy_(self.sums / self.counts[:, None])


def find_clusters(tokens: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return the means (count, d) of clusters of tokens (n, d) by direction."""
    means = tokens[torch.randperm(len(tokens), generator=generator)[:count]].clone()
    directions = functional.normalize(tokens, dim=-1)
    for _ in range(_ROUNDS):
        indices = (directions @ functional.normalize(means, dim=-1).t()).argmax(dim=-1)
        counts, sums = _add_up(tokens, indices, count)
        filled = counts > 0
        means[filled] = sums[filled] / counts[filled, None]
        spare = torch.randint(len(tokens), (int((~filled).sum()),), generator=generator)
        means[~filled] = tokens[spare]
    return means


def _add_up(tokens: Tensor, indices: Tensor, count: int) -> tuple[Tensor, Tensor]:
    counts = torch.bincount(indices, minlength=count).to(tokens.dtype)
    return counts, torch.zeros(count, tokens.shape[1]).index_add_(0, indices, tokens)
