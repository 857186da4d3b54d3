"""From sentences to their latents, with the text side of an entry."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from model_weights.catalogue import ModelEntry
from model_weights.loading import load_tensors, read_verified
from workers.ct_clip.text_encoding import compute_text_latents
from workers.fvlm.configuration import Architecture
from workers.fvlm.weights import make_text_tower


def encode_texts(entry: ModelEntry, prompts: Sequence[str]) -> Tensor:
    """Return the latents (prompts, dim_latent) of any texts; loads the text side of an entry for it."""
    tower = make_text_tower(Architecture.from_table(entry.architecture), load_tensors(entry.get_file("text_weights")))
    return compute_text_latents(tower, read_verified(entry.get_file("vocabulary")).decode(), prompts)
