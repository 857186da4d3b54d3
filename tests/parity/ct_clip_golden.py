"""A golden folder of any geometry, in the layout of `tests/golden/ct_clip`. Its vectors are those of our own code.

So it cannot say whether we answer as the reference does; it says whether a folder of another geometry is read rightly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.workers.ct_clip.tiny import make_state
from workers.ct_clip.configuration import Architecture
from workers.ct_clip.model import CTCLIP, compute_probabilities
from workers.ct_clip.weights import make_model, read_ct_clip
from workers.supervised.configuration import Architecture as ClassifierArchitecture
from workers.supervised.configuration import HeadKind
from workers.supervised.loading import make_classifier
from workers.supervised.weights import read_classifier

LABELS, CLASSES, TOKENS = 3, 2, 9


@torch.inference_mode()
def write_golden(folder: Path, architecture: Architecture, *, slabs: int, batch: int, has_norm: bool) -> Path:
    """Write weights, both classifiers, geometry and vectors for random inputs; return the folder."""
    folder.mkdir()
    state, image = make_state(architecture, 3), architecture.image
    volume = torch.rand(batch, image.channels, slabs * image.temporal_patch_size, image.image_size, image.image_size)
    token_ids = torch.randint(architecture.text.vocab_size, (2 * LABELS, TOKENS))
    inputs = {"volume": volume, "input_ids": token_ids, "attention_mask": torch.ones_like(token_ids)}
    model = make_model(architecture, read_ct_clip(architecture, state))
    vectors = {**inputs, **dict(model.image.iterate_activations(volume)), **_answer(model, inputs)}
    vectors |= _write_supervised(folder, architecture, state, volume, has_norm=has_norm)
    vectors |= _write_public(folder, architecture, state, volume)
    save_file(state, folder / "tiny_weights.safetensors")
    save_file({name: each.contiguous().clone() for name, each in vectors.items()}, folder / "tiny_io.safetensors")
    (folder / "tiny_config.json").write_text(json.dumps(_describe(architecture)))
    return folder


def _answer(model: CTCLIP, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    hidden = model.text.encode(inputs["input_ids"], inputs["attention_mask"])
    logits = model(inputs["volume"], inputs["input_ids"], inputs["attention_mask"])
    return {
        "text_last_hidden_state": hidden,
        "text_latents": model.text(inputs["input_ids"], inputs["attention_mask"]),
        "similarity_logits": logits,
        "probability_present": compute_probabilities(logits),
    }


def _write_supervised(
    folder: Path, architecture: Architecture, state: Mapping[str, Tensor], volume: Tensor, *, has_norm: bool
) -> dict[str, Tensor]:
    """Write the container of the product's trainer, without the optional key."""
    latent = architecture.dim_latent
    kept = {f"ct_clip.{name}": tensor for name, tensor in state.items() if not name.endswith("position_ids")}
    plain = {**kept, "classifier.1.weight": torch.randn(CLASSES, latent), "classifier.1.bias": torch.randn(CLASSES)}
    normed = {**plain, "pre_head_norm.weight": torch.randn(latent), "pre_head_norm.bias": torch.randn(latent)}
    saved = normed if has_norm else plain
    metrics = {"macro_roc_auc": np.float64(0.5)}
    torch.save({"model_state_dict": saved, "metrics": metrics}, folder / "tiny_supervised_trainer_checkpoint.pt")
    vectors = {"supervised_logits.none": _classify(architecture, HeadKind.PLAIN, plain, volume)}
    if has_norm:
        vectors["supervised_logits.layernorm"] = _classify(architecture, HeadKind.LAYER_NORM, normed, volume)
    return vectors


def _write_public(
    folder: Path, architecture: Architecture, state: Mapping[str, Tensor], volume: Tensor
) -> dict[str, Tensor]:
    public = {f"trained_model.{name}": tensor for name, tensor in state.items()}
    public |= {
        "classifier.weight": torch.randn(CLASSES, architecture.dim_latent),
        "classifier.bias": torch.zeros(CLASSES),
    }
    torch.save(public, folder / "tiny_lipro.pt")
    return {"lipro_logits": _classify(architecture, HeadKind.RECTIFIED, public, volume)}


def _classify(architecture: Architecture, head: HeadKind, state: Mapping[str, Tensor], volume: Tensor) -> Tensor:
    whole = ClassifierArchitecture(CLASSES, head, architecture)
    logits: Tensor = make_classifier(whole, read_classifier(whole, state))(volume)
    return logits


def _describe(architecture: Architecture) -> dict[str, Any]:
    return {
        "ctvit": {**asdict(architecture.image), "attn_dropout": 0.0},
        "text_encoder": {**asdict(architecture.text), "hidden_act": "gelu", "pad_token_id": 0},
        "dim_latent": architecture.dim_latent,
    }
