"""Latents of label texts: computed once for weights and labels, kept beside the weights, pinned like them.

A worker that finds them never loads the text side. Where labels were changed since, they are computed again.
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
from workers.ct_clip.prompts import make_prompts

ROLE = "text_latents"


def load_text_latents(entry: ModelEntry) -> Tensor:
    """Return the latents (2 * labels, dim_latent) of an entry's labels: those that are stored, if they are of these."""
    stored = load_tensors(entry.get_file(ROLE))
    if bytes(stored["key"].tolist()) == _compute_key(entry, entry.labels):
        return stored["latents"]
    # Brings transformers, 150 MB that a worker with stored latents does without.
    encoding = import_module("workers.ct_clip.text_encoding")
    latents: Tensor = encoding.encode_labels(entry, entry.labels)
    return latents


def make_stored_latents(
    latents: Tensor, text_sha256: str, vocabulary_sha256: str, labels: Sequence[str]
) -> dict[str, Tensor]:
    """Return what is kept: the latents, and the key that says of which weights and labels they are."""
    key = _digest(text_sha256, vocabulary_sha256, labels)
    return {"latents": latents, "key": torch.tensor(list(key), dtype=torch.uint8)}


def _compute_key(entry: ModelEntry, labels: Sequence[str]) -> bytes:
    return _digest(entry.get_file("text_weights").sha256, entry.get_file("vocabulary").sha256, labels)


def _digest(text_sha256: str, vocabulary_sha256: str, labels: Sequence[str]) -> bytes:
    prompts = make_prompts(labels)
    return hashlib.sha256(json.dumps([text_sha256, vocabulary_sha256, prompts]).encode()).digest()
