"""From latents to probabilities. Pure."""

from __future__ import annotations

from torch import Tensor


def compute_logits(latent: Tensor, text_latents: Tensor, temperature: Tensor) -> Tensor:
    """Return logits (pairs, 2) of one organ's latent (d,) beside two prompts for each pair (2 * pairs, d)."""
    return (text_latents @ latent / temperature).view(-1, 2)


def compute_probabilities(logits: Tensor) -> Tensor:
    """Return how much better each prompt of a pair fits than the other (pairs, 2), in float32."""
    return logits.float().softmax(dim=-1)
