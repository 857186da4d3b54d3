"""From texts to their latents, with the text side of CT-CLIP."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from model_weights.catalogue import ModelEntry
from model_weights.loading import load_tensors, read_verified
from shared.errors import Defect
from workers.ct_clip.configuration import Architecture
from workers.ct_clip.text_tower import TextTower
from workers.ct_clip.tokenizer import encode_prompts, make_tokenizer
from workers.ct_clip.weights import make_text_tower

_PROMPTS_AT_ONCE = 32


def encode_texts(entry: ModelEntry, prompts: Sequence[str]) -> Tensor:
    """Return the latents (prompts, dim_latent) of any texts; loads the text side of an entry for it."""
    architecture = Architecture.from_table(entry.architecture)
    tower = make_text_tower(architecture, load_tensors(entry.get_file("text_weights")))
    return compute_text_latents(tower, read_verified(entry.get_file("vocabulary")).decode(), prompts)


@torch.inference_mode()
def compute_text_latents(tower: TextTower, vocabulary: str, prompts: Sequence[str]) -> Tensor:
    """Return the latents (prompts, dim_latent) of texts. Raises Defect when the vocabulary is not the tower's."""
    tokenizer = make_tokenizer(vocabulary, tower.max_tokens)
    if tokenizer.get_vocab_size() != tower.vocabulary_size:
        raise Defect(
            f"the vocabulary has {tokenizer.get_vocab_size()} tokens,"
            f" the text side of {tower.model_name} {tower.vocabulary_size}"
        )
    starts = range(0, len(prompts), _PROMPTS_AT_ONCE)
    batches = [encode_prompts(tokenizer, prompts[start : start + _PROMPTS_AT_ONCE]) for start in starts]
    return torch.cat([tower(token_ids, mask) for token_ids, mask in batches])
