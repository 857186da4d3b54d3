"""Latents of the items' sentences: computed once for weights, vocabulary and items, kept beside the weights.

A worker that finds them never loads the text side (109 million of 205 million numbers at the published size). Where the
sentences were changed since, they are computed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from torch import Tensor

from model_weights.catalogue import ModelEntry
from model_weights.loading import load_tensors
from workers.ct_clip.text_latents import ROLE, compute_key
from workers.fvlm.items import Item, list_prompts


def load_text_latents(entry: ModelEntry, items: Sequence[Item]) -> Tensor:
    """Return the latents (2 * items, dim_latent), negative before positive: those that are stored, if of these."""
    prompts = list_prompts(items)
    stored = load_tensors(entry.get_file(ROLE))
    if bytes(stored["key"].tolist()) == compute_key(entry, prompts):
        return stored["latents"]
    # Brings transformers, 150 MB that a worker with stored latents does without.
    latents: Tensor = import_module("workers.fvlm.text_encoding").encode_texts(entry, prompts)
    return latents
