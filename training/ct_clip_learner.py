"""What the demo CT-CLIP learns from: its report, its findings by prompt, and where they lie.

Papers:  Radford et al., arXiv 2103.00020 (image and text by contrast); Hamamci et al., arXiv 2403.17834 (VocabFine:
         each finding as the choice between two prompts).

Where is learnt by a head that exists in training only. It makes small findings learnable from some thousand studies,
and gives the codes a meaning in one place.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from phantom.study import FINDINGS
from training.ct_clip_batches import Batch
from training.place_loss import compute_place_loss
from workers.ct_clip.configuration import Architecture
from workers.ct_clip.ctvit import CTViT
from workers.ct_clip.model import CTCLIP, score_prompts

CONTRAST_WEIGHT = 0.3
PLACE_WEIGHT = 1.0
COMMITMENT_WEIGHT = 0.25
_MOMENTUM = 0.02
_FIRST_TEMPERATURE = 2.0
_HIGHEST_TEMPERATURE = 4.0


@dataclass(frozen=True)
class Understanding:
    """Of a batch of volumes: encoded `tokens` (b, t, h, w, d), their codes' `indices` or None, and `latents` (b, d)."""

    tokens: Tensor
    indices: Tensor | None
    places: Tensor
    latents: Tensor


class Learner(nn.Module):
    """A CT-CLIP with a map of findings, and a projection that is easier to learn than the one it is folded into."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.model = CTCLIP(architecture)
        self.model.temperature.data.fill_(_FIRST_TEMPERATURE)
        self.model.image.encoder.code_book.requires_grad_(requires_grad=False)
        self.model.image.projection.requires_grad_(requires_grad=False)
        self.projection = FoldedProjection(architecture)
        self.place_head = nn.Linear(architecture.image.dim, len(FINDINGS))

    def forward(self, volumes: Tensor, *, is_quantised: bool) -> Understanding:
        """Return tokens, maps of logits (b, findings, t, h, w) and latents of length one."""
        encoder = self.model.image.encoder
        tokens = encode_tokens(encoder, volumes)
        indices, taken = None, tokens
        if is_quantised:
            indices = encoder.code_book.find_codes(tokens.detach())
            taken = tokens + (encoder.code_book(indices) - tokens).detach()
        places = self.place_head(taken).movedim(-1, 1)
        return Understanding(tokens, indices, places, functional.normalize(self.projection(taken), dim=-1))

    def compute_loss(
        self, seen: Understanding, batch: Batch, texts: Tensor, prompts: Tensor, weights: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Return the loss of a batch, of the latents of its reports (b, d) and of two prompts a label (2 labels, d).

        `weights` are those of the labels, and those of their positive examples.
        """
        temperature = self.model.temperature.clamp(max=_HIGHEST_TEMPERATURE)
        logits = score_prompts(seen.latents, prompts, temperature)
        loss = functional.binary_cross_entropy_with_logits(
            logits[..., 0] - logits[..., 1], batch.targets, weights[0], pos_weight=weights[1]
        )
        loss = loss + CONTRAST_WEIGHT * compute_contrast(temperature.exp() * seen.latents @ texts.t(), batch.is_same)
        loss = loss + PLACE_WEIGHT * compute_place_loss(seen.places, batch.places)
        if seen.indices is not None:
            codes = self.model.image.encoder.code_book(seen.indices)
            loss = loss + COMMITMENT_WEIGHT * functional.mse_loss(seen.tokens, codes)
        return loss

    @torch.no_grad()
    def fold(self) -> CTCLIP:
        """Return the model, its projection filled in, in inference mode."""
        self.model.image.projection.weight.copy_(self.projection.fold())
        self.model.temperature.clamp_(max=_HIGHEST_TEMPERATURE)
        return self.model.eval().requires_grad_(requires_grad=False)


class FoldedProjection(nn.Module):
    """The projection of pooled tokens as a sum: one matrix for the mean over all places, one for each place.

    Both see their input with the running mean taken off and at the running spread, so that a finding in one token of a
    thousand counts. The projection that inference knows has no bias; the mean is taken off by the tokens' first
    channel, which the encoder holds at one.
    """

    mean: Tensor
    spread: Tensor
    place_mean: Tensor
    place_spread: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        image = architecture.image
        self._places, self._dim = image.grid_size**2, image.dim
        self.shared = nn.Linear(image.dim, architecture.dim_latent)
        self.by_place = nn.Linear(image.pooled_size, architecture.dim_latent, bias=False)
        nn.init.zeros_(self.by_place.weight)
        for name, size in (("", image.dim), ("place_", image.pooled_size)):
            self.register_buffer(f"{name}mean", torch.zeros(size))
            self.register_buffer(f"{name}spread", torch.zeros(size))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return latents (b, dim_latent), of any length, of tokens (b, t, h, w, d)."""
        pooled = tokens.mean(dim=1).flatten(1, 2)  # (b, h w, d)
        whole, places = pooled.mean(dim=1), pooled.flatten(1)
        if self.training:
            _follow(self.mean, self.spread, whole.detach())
            _follow(self.place_mean, self.place_spread, places.detach())
        everywhere: Tensor = self.shared((whole - self.mean) / _floor(self.spread))
        here: Tensor = self.by_place((places - self.place_mean) / _floor(self.place_spread))
        return everywhere + here

    def fold(self) -> Tensor:
        """Return the one matrix (dim_latent, h * w * d) that does the same."""
        shared = self.shared.weight / _floor(self.spread)
        by_place = self.by_place.weight / _floor(self.place_spread)
        folded = (shared / self._places).repeat(1, self._places) + by_place
        offset = self.shared.bias - shared @ self.mean - by_place @ self.place_mean
        folded[:, :: self._dim] += offset[:, None] / self._places
        return folded


def hold_first_channel(encoder: CTViT) -> None:
    """Make the first channel of every token one: what the projection has in place of a bias."""
    norm = encoder.temporal.norm
    with torch.no_grad():
        norm.weight[0] = 0.0
        norm.bias[0] = 1.0


def encode_tokens(encoder: CTViT, volumes: Tensor) -> Tensor:
    """Return tokens (b, t, h, w, d) as they are before the code book."""
    return next(tokens for name, tokens in encoder.iterate_activations(volumes) if name == "encoded_tokens")


def compute_contrast(logits: Tensor, is_same: Tensor) -> Tensor:
    """Return the cross entropy of images (rows) and reports (columns), in both directions."""
    shares = is_same / is_same.sum(dim=1, keepdim=True)
    return (functional.cross_entropy(logits, shares) + functional.cross_entropy(logits.t(), shares)) / 2


def _follow(mean: Tensor, spread: Tensor, values: Tensor) -> None:
    """Move running statistics towards those of values (b, n), in place; the first batch sets them."""
    share = _MOMENTUM if bool(spread.any()) else 1.0
    spread.lerp_((values - values.mean(dim=0)).square().mean(dim=0).sqrt(), share)
    mean.lerp_(values.mean(dim=0), share)


def _floor(spread: Tensor) -> Tensor:
    return spread.clamp(min=0.05 * float(spread.mean()) + 1e-6)
