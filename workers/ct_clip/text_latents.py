"""Latents of label texts: computed once for weights and texts, kept beside the weights, pinned like them.

A worker that finds them never loads the text side. Where labels or their texts were changed since, they are computed
again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib import import_module

import torch
from torch import Tensor

from model_weights.catalogue import ModelEntry
from model_weights.loading import load_tensors
from workers.ct_clip.prompts import load_label_texts, make_prompts

ROLE = "text_latents"


def load_text_latents(entry: ModelEntry) -> Tensor:
    """Return the latents (2 * labels, dim_latent) of an entry's labels: those that are stored, if they are of these."""
    prompts = make_prompts(entry.labels, load_label_texts(entry))
    stored = load_tensors(entry.get_file(ROLE))
    if bytes(stored["key"].tolist()) == compute_key(entry, prompts):
        return stored["latents"]
    return encode_texts(entry, prompts)


def encode_texts(entry: ModelEntry, prompts: Sequence[str]) -> Tensor:
    """Return the latents (prompts, dim_latent) of any texts; loads the text side of an entry and lets it go."""
    # Brings transformers, 150 MB that a worker with stored latents does without.
    encoding = import_module("workers.ct_clip.text_encoding")
    latents: Tensor = encoding.encode_texts(entry, prompts)
    return latents


def make_stored_latents(
    latents: Tensor, text_sha256: str, vocabulary_sha256: str, prompts: Sequence[str]
) -> dict[str, Tensor]:
    """Return what is kept: the latents, and the key that says of which weights and texts they are."""
    key = _digest(text_sha256, vocabulary_sha256, prompts)
    return {"latents": latents, "key": torch.tensor(list(key), dtype=torch.uint8)}


def compute_key(entry: ModelEntry, prompts: Sequence[str]) -> bytes:
    """Return what names the latents of these texts by the text side of an entry."""
    return _digest(entry.get_file("text_weights").sha256, entry.get_file("vocabulary").sha256, prompts)


def _digest(text_sha256: str, vocabulary_sha256: str, prompts: Sequence[str]) -> bytes:
    return hashlib.sha256(json.dumps([text_sha256, vocabulary_sha256, list(prompts)]).encode()).digest()
