"""fVLM beside reference vectors: both sides, the layout, preprocessing in both geometries, lungs, study to answer.

The full-size recipe and the tables are compared where the golden folder has them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file as load_tensors
from torch import Tensor

from workers.checkpoint import open_checkpoint
from workers.fvlm import full_size_parity, preprocessing_parity
from workers.fvlm.configuration import Architecture
from workers.fvlm.golden import draw_ellipsoid, draw_volume, read_architecture, sample_tokens
from workers.fvlm.image_encoder import Block, name_block
from workers.fvlm.image_tower import find_tokens
from workers.fvlm.model import FVLM
from workers.fvlm.organs import ORGANS
from workers.fvlm.published import describe_layout, is_leftover
from workers.fvlm.scoring import compute_logits, compute_probabilities
from workers.fvlm.weights import make_model, read_checkpoint
from workers.parity import ParityCheck
from workers.segmentation.lungs import measure_lungs
from workers.tensor_parity import compare

TOKEN_TOLERANCE = 2e-5
POOLED_TOLERANCE = 1e-4
LATENT_TOLERANCE = 3e-6
LOGIT_TOLERANCE = 5e-5
PROBABILITY_TOLERANCE = 3e-6
TEXT_TOLERANCE = 5e-6

_OUTCOMES = {
    None: "accepted",
    "no_lungs_found": "LungsNotFoundError",
    "insufficient_coverage": "InvalidLungsLengthError",
}


def check_parity(golden: Path) -> Sequence[ParityCheck]:
    """Run the real code on a golden folder; geometry and names of cases are read from it."""
    sections: Mapping[str, Callable[[Path], Iterator[ParityCheck]]] = {
        "tiny_io.safetensors": _check_tiny,
        "tiny_trainer_checkpoint.pt": _check_container,
        "full_state_dict.json": _check_layout,
        "lung_validation_golden.json": _check_lungs,
        "preprocessing_golden.json": preprocessing_parity.check_preprocessing,
        "end_to_end_golden.json": preprocessing_parity.check_end_to_end,
        "prompts_golden.json": full_size_parity.check_prompts,
        "full_size_golden.safetensors": full_size_parity.check_full_size,
    }
    # The tiny set is what makes a folder golden; the rest may be left out of a smaller one.
    present = [name for name in sections if name == "tiny_io.safetensors" or (golden / name).exists()]
    with torch.inference_mode():
        return [check for name in present for check in sections[name](golden)]


def _check_tiny(golden: Path) -> Iterator[ParityCheck]:
    architecture = read_architecture(golden)
    model = make_model(architecture, read_checkpoint(architecture, load_tensors(golden / "tiny_weights.safetensors")))
    vectors = load_tensors(golden / "tiny_io.safetensors")
    yield from _check_text(model, vectors)
    config = json.loads((golden / "tiny_config.json").read_text())
    for name, window in config["windows"].items():
        expected = {key.removeprefix(f"{name}."): each for key, each in vectors.items() if key.startswith(f"{name}.")}
        volume = draw_volume(window["shape"], config["img_off"])
        for check in _check_window(model, volume, window, expected, vectors["text.latents"]):
            yield ParityCheck(f"{name}.{check.stage}", check.error, check.tolerance)


def _check_text(model: FVLM, vectors: Mapping[str, Tensor]) -> Iterator[ParityCheck]:
    found: dict[str, Tensor] = {}
    encoder = model.text.encoder
    parts = {"embeddings_out": encoder.embeddings}
    parts |= {f"layer_{number}_out": layer for number, layer in enumerate(encoder.encoder.layer)}
    hooks = [part.register_forward_hook(_make_keeper(found, name)) for name, part in parts.items()]
    mask = vectors["attention_mask"]
    hidden = model.text.encode(vectors["input_ids"], mask)
    for hook in hooks:
        hook.remove()
    for name, output in found.items():
        is_read = mask.bool()  # what stands at masked positions means nothing
        yield compare(f"text.{name}", output[is_read], vectors[f"text.{name}"][is_read], TEXT_TOLERANCE)
    yield compare("text.cls_hidden", hidden[:, 0], vectors["text.cls_hidden"], TEXT_TOLERANCE)
    yield compare("text.latents_raw", model.text.project(hidden), vectors["text.latents_raw"], TEXT_TOLERANCE)
    latents = model.text(vectors["input_ids"], mask)
    yield compare("text.latents", latents, vectors["text.latents"], LATENT_TOLERANCE)


def _make_keeper(found: dict[str, Tensor], name: str) -> Callable[..., None]:
    def keep(_module: object, _inputs: object, output: Any) -> None:  # noqa: ANN401  # a layer gives a tensor or a tuple
        found[name] = output[0] if isinstance(output, tuple) else output

    return keep


def _check_window(
    model: FVLM, volume: Tensor, window: Mapping[str, Any], expected: Mapping[str, Tensor], texts: Tensor
) -> Iterator[ParityCheck]:
    tower, found = model.image, dict[str, Tensor]()
    first = tower.encoder.blocks[0]
    assert isinstance(first, Block)
    parts = {"attn": first.attention, "mlp": first.feed_forward}
    hooks = [part.register_forward_hook(_make_keeper(found, f"{name_block(0)}.{name}")) for name, part in parts.items()]
    activations = {**dict(tower.encoder.iterate_activations(volume)), **found}
    for hook in hooks:
        hook.remove()
    for name, activation in activations.items():
        if name in expected:
            sample = sample_tokens(activation[0], volume)
            yield compare(name, sample, expected[name], TOKEN_TOLERANCE)
    masks = [draw_ellipsoid(window["shape"], each) for each in window["ellipsoids_zyx_centre_radii"]]
    tokens = torch.stack([find_tokens(mask, tower.encoder.shape) for mask in masks])
    yield compare("token_masks", tokens.int().view_as(expected["token_masks"]), expected["token_masks"].int(), 0.0)
    kept = [*(name_block(number) for number in tower.encoder.shape.levels), "final_norm"]
    levels = torch.cat([activations[name] for name in kept])
    vectors = [tower.pool(levels, organ, mask) for organ, mask in zip(ORGANS, tokens, strict=True)]
    for name, tolerance in (
        ("pooled", POOLED_TOLERANCE),
        ("projected", POOLED_TOLERANCE),
        ("latent", LATENT_TOLERANCE),
    ):
        stage = "organ_latents" if name == "latent" else f"organ_{name}"
        yield compare(stage, torch.stack([getattr(each, name) for each in vectors]), expected[stage], tolerance)
    logits = torch.stack([compute_logits(each.latent, texts, model.temperature) for each in vectors])
    yield compare("logits", logits, expected["logits"], LOGIT_TOLERANCE)
    yield compare("probabilities", compute_probabilities(logits), expected["probabilities"], PROBABILITY_TOLERANCE)


def _check_container(golden: Path) -> Iterator[ParityCheck]:
    """Compare the weights in the trainer's container with the bare ones."""
    architecture = read_architecture(golden)
    bare = read_checkpoint(architecture, load_tensors(golden / "tiny_weights.safetensors"))
    contained = read_checkpoint(architecture, open_checkpoint(golden / "tiny_trainer_checkpoint.pt"))
    different = sum(not torch.equal(tensor, bare[name]) for name, tensor in contained.items())
    yield ParityCheck("trainer checkpoint", float(different), 0.0)


def _check_layout(golden: Path) -> Iterator[ParityCheck]:
    """Count the keys of the full-size network whose name or shape differs, and leftovers that would be refused."""
    table = json.loads((golden / "full_state_dict.json").read_text())
    ours = {(key, slot.shape) for key, slot in describe_layout(Architecture()).items()}
    theirs = {(key, tuple(shape)) for key, (shape, _) in table["required"].items()}
    yield ParityCheck("full_size/keys", float(len(ours ^ theirs)), 0.0)
    refused = [key for key in table["optional"] if not is_leftover(key) and key not in table["buffers"]]
    yield ParityCheck("full_size/optional keys that are refused", float(len(refused)), 0.0)


def _check_lungs(golden: Path) -> Iterator[ParityCheck]:
    """Count the cases of lung validation whose outcome or run differs from the exact rule."""
    for case in json.loads((golden / "lung_validation_golden.json").read_text())["cases"]:
        pixels = [count for count, slices in case["lung_pixels_per_slice_runs"] for _ in range(slices)]
        extent = measure_lungs(pixels, case["z_spacing_mm"])
        problem = extent.find_problem()
        outcome = _OUTCOMES[None if problem is None else str(problem.code)]
        wrong = (outcome, extent.slices) != (case["exact"]["outcome"], case["exact"]["run_slices"])
        yield ParityCheck(f"lungs/{case['name']}", float(wrong), 0.0)
