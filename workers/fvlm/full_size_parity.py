"""fVLM at its published size beside reference vectors, with weights and a window from a recipe; and its prompts."""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file as load_tensors
from torch import Tensor

from workers.ct_clip.tokenizer import make_tokenizer
from workers.ct_clip.vocabulary import VOCABULARY_FILE
from workers.fvlm.configuration import Architecture
from workers.fvlm.golden import draw_ellipsoid, draw_volume, sample_tokens
from workers.fvlm.image_tower import find_tokens
from workers.fvlm.model import FVLM
from workers.fvlm.organs import ORGANS, Organ
from workers.fvlm.published import describe_layout
from workers.fvlm.scoring import compute_logits, compute_probabilities
from workers.fvlm.weights import make_model
from workers.parity import ParityCheck
from workers.tensor_parity import compare

_TOKENS, _POOLED, _LATENTS, _PROBABILITIES = 2e-5, 1e-4, 3e-6, 3e-6

_SHARPENED = ("qkv", "in_proj", ".query.", ".key.")
_AS_DRAWN = re.compile(r"query_tokens|text_encoder\.embeddings\.(word|position)_embeddings\.weight")


def check_prompts(golden: Path) -> Iterator[ParityCheck]:
    """Count the prompts whose token ids differ."""
    items = json.loads((golden / "prompts_golden.json").read_text())["items"]
    tokenizer = make_tokenizer(VOCABULARY_FILE.read_text(encoding="utf-8"), Architecture().prompt_tokens)
    wrong = sum(
        tokenizer.encode(item[side]).ids != item[f"{side}_ids"] for item in items for side in ("negative", "positive")
    )
    yield ParityCheck("prompts/token_ids", float(wrong), 0.0)


def check_full_size(golden: Path) -> Iterator[ParityCheck]:
    """Run both sides on the recipe's window and prompts. Takes 10 s and 2 GB on two cores."""
    recipe = json.loads((golden / "full_size_golden.json").read_text())
    vectors = load_tensors(golden / "full_size_golden.safetensors")
    model = make_recipe_model(recipe["salt"], recipe["temp"])
    window = draw_volume(recipe["shape"], recipe["salt"])
    levels = model.image.encoder(window)[0]
    for number, level in enumerate(levels):
        yield compare(
            f"full_size/level_{number}", sample_tokens(level, window), vectors[f"level_{number}_sample"], _TOKENS
        )
    masks = [draw_ellipsoid(recipe["shape"], each) for each in recipe["ellipsoids_zyx_centre_radii"]]
    tokens = torch.stack([find_tokens(mask, model.image.encoder.shape) for mask in masks])
    expected = vectors["token_masks"].int()
    yield compare("full_size/token_masks", tokens.int().view_as(expected), expected, 0.0)
    found = [model.image.pool(levels, organ, mask) for organ, mask in zip(ORGANS, tokens, strict=True)]
    latents = torch.stack([each.latent for each in found])
    yield compare(
        "full_size/organ_pooled", torch.stack([each.pooled for each in found]), vectors["organ_pooled"], _POOLED
    )
    yield compare("full_size/organ_latents", latents, vectors["organ_latents"], _LATENTS)
    texts = model.text(vectors["input_ids"], vectors["attention_mask"])
    yield compare("full_size/text_latents", texts, vectors["text_latents"], _LATENTS)
    yield _compare_answers(golden, model, latents, texts)


def make_recipe_model(salt: int, temperature: float) -> FVLM:
    """Return the published architecture with weights that are drawn by the name of each key."""
    architecture = Architecture()
    tensors = {slot.ours: _draw(key, slot.shape, salt) for key, slot in describe_layout(architecture).items()}
    return make_model(architecture, {**tensors, "temperature": torch.tensor(temperature)})


def _compare_answers(golden: Path, model: FVLM, latents: Tensor, texts: Tensor) -> ParityCheck:
    recipe = json.loads((golden / "full_size_golden.json").read_text())
    items = json.loads((golden / "prompts_golden.json").read_text())["items"]
    found = [
        compute_probabilities(
            compute_logits(latents[Organ(item["organ"]).row], texts[2 * row : 2 * row + 2], model.temperature)
        )[0, 1]
        for row, item in enumerate(items)
    ]
    expected = torch.tensor([recipe["probabilities"][item["finding"]] for item in items])
    return compare("full_size/probabilities", torch.stack(found), expected, _PROBABILITIES)


def _draw(key: str, shape: tuple[int, ...], salt: int) -> Tensor:
    seed = (zlib.crc32(key.encode()) + salt) % 2**32
    drawn = torch.from_numpy(np.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32)))
    return drawn if _AS_DRAWN.fullmatch(key) else _scale(key, drawn)


def _scale(key: str, drawn: Tensor) -> Tensor:
    if key.endswith("position_embeddings"):
        return drawn * 0.3
    if drawn.ndim < 2:
        return drawn * 0.1 if key.endswith("bias") else 1 + 0.1 * drawn
    scaled = drawn / math.sqrt(math.prod(drawn.shape[1:]))
    if any(part in key for part in _SHARPENED):
        scaled = scaled * 1.5
    return scaled * 4 if key.endswith("patch_embeddings.weight") else scaled
