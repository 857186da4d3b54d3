"""CT-CLIP beside reference vectors: every stage of both towers, the heads, the layouts, preprocessing and tokens.

The full-size recipe, the tables for preprocessing and tokens, and each vector are compared where the golden folder has
them; inputs, weights and geometry it must have.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from workers.checkpoint import open_checkpoint
from workers.ct_clip import full_size_parity
from workers.ct_clip.configuration import Architecture, ImageShape, Preprocessing, TextShape, Variant
from workers.ct_clip.model import CTCLIP, compute_probabilities
from workers.ct_clip.preprocess import Rescale, plan_lengths, prepare
from workers.ct_clip.published import Slot, describe_layout
from workers.ct_clip.tokenizer import encode_prompts, make_tokenizer
from workers.ct_clip.vocabulary import VOCABULARY_FILE
from workers.ct_clip.weights import make_model, read_ct_clip, unwrap_checkpoint
from workers.parity import ParityCheck
from workers.supervised.configuration import Architecture as ClassifierArchitecture
from workers.supervised.configuration import HeadKind
from workers.supervised.loading import make_classifier
from workers.supervised.model import compute_probabilities as compute_label_probabilities
from workers.supervised.weights import describe_classifier_layout, find_head, read_classifier
from workers.tensor_parity import compare, load_golden
from workers.volume import Geometry, Volume

TOLERANCE = 1e-5
TRANSFORMER_TOLERANCE = 2e-5
PREPROCESSING_TOLERANCE = 2e-6

_TRANSFORMED = frozenset({"spatial_transformer_out", "temporal_transformer_out", "encoded_tokens"})
_VARIANTS = {"public": Variant.PUBLIC, "celsus": Variant.PREDECESSOR}


def check_parity(golden: Path) -> Sequence[ParityCheck]:
    """Run the real code on a golden folder; geometry and names of cases are read from it."""
    sections: Mapping[str, Callable[[Path], Iterator[ParityCheck]]] = {
        "tiny_io.safetensors": _check_tiny,
        "tiny_supervised_trainer_checkpoint.pt": _check_supervised,
        "tiny_lipro.pt": _check_public_classifier,
        "full_state_dict.json": _check_layouts,
        "preprocessing_golden.json": _check_preprocessing,
        "tokenization_golden.json": _check_tokens,
        "full_size_golden.safetensors": full_size_parity.check_full_size,
    }
    # The tiny set is what makes a folder golden; the rest may be left out of a smaller one.
    present = [name for name in sections if name == "tiny_io.safetensors" or (golden / name).exists()]
    with torch.inference_mode():
        return [check for name in present for check in sections[name](golden)]


def read_architecture(golden: Path) -> Architecture:
    """Return the geometry of the tiny set."""
    table = json.loads((golden / "tiny_config.json").read_text())
    image, text = _keep_known(table["ctvit"], ImageShape), _keep_known(table["text_encoder"], TextShape)
    return Architecture.from_table({"image": image, "text": text, "dim_latent": table["dim_latent"]})


def _keep_known(table: Mapping[str, Any], kind: type[ImageShape | TextShape]) -> dict[str, Any]:
    """Return the sizes that we know; where another one mattered, the weights do not fit."""
    known = {each.name for each in fields(kind)}
    return {name: value for name, value in table.items() if name in known}


def _check_tiny(golden: Path) -> Iterator[ParityCheck]:
    architecture = read_architecture(golden)
    weights = load_golden(golden / "tiny_weights.safetensors")
    model = make_model(architecture, read_ct_clip(architecture, weights))
    vectors = _load_vectors(golden)
    for name, activation in model.image.iterate_activations(vectors["volume"]):
        if name != "vq_indices":
            yield from _compare_known(
                name, activation, vectors, TRANSFORMER_TOLERANCE if name in _TRANSFORMED else TOLERANCE
            )
        elif name in vectors:
            yield ParityCheck(name, _count_differences(activation, vectors[name]), 0.0)
    yield from _check_first_layers(model, vectors)
    yield from _check_text(model, vectors)


def _load_vectors(golden: Path) -> dict[str, Tensor]:
    vectors = load_golden(golden / "tiny_io.safetensors")
    return {**vectors, "volume": vectors["volume"].float()}


def _compare_known(name: str, found: Tensor, vectors: Mapping[str, Tensor], tolerance: float) -> Iterator[ParityCheck]:
    if name in vectors:
        yield compare(name, found, vectors[name], tolerance)


def _check_first_layers(model: CTCLIP, vectors: Mapping[str, Tensor]) -> Iterator[ParityCheck]:
    """Compare what the parts of each first layer return, on the first volume."""
    found: dict[str, Tensor] = {}
    for kind, transformer in (("spatial", model.image.encoder.spatial), ("temporal", model.image.encoder.temporal)):
        layer = transformer.layers[0]
        for part, module in (("peg", layer.positions), ("attn", layer.attention), ("ff", layer.feed_forward)):
            _record(module, f"debug.{kind}.layer0.{part}_out", found)
    model.image.encoder(vectors["volume"][:1])
    for name, output in found.items():
        yield from _compare_known(name, output, vectors, TRANSFORMER_TOLERANCE)


def _record(module: nn.Module | Tensor, name: str, outputs: dict[str, Tensor]) -> None:
    def keep(_module: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> None:
        outputs[name] = output

    assert isinstance(module, nn.Module)
    module.register_forward_hook(keep)


def _check_text(model: CTCLIP, vectors: Mapping[str, Tensor]) -> Iterator[ParityCheck]:
    token_ids, mask = vectors["input_ids"], vectors["attention_mask"]
    hidden = model.text.encode(token_ids, mask)
    is_read = mask.bool()  # what stands at masked positions means nothing
    if "text_last_hidden_state" in vectors:
        expected = vectors["text_last_hidden_state"][is_read]
        yield compare("text_last_hidden_state", hidden[is_read], expected, TOLERANCE)
    logits = model(vectors["volume"], token_ids, mask)
    found = {
        "text_latents_raw": model.text.project(hidden),
        "text_latents": model.text(token_ids, mask),
        "temperature_exp": model.temperature.exp(),
        "similarity_logits": logits,
        "probability_present": compute_probabilities(logits),
    }
    for name, output in found.items():
        yield from _compare_known(name, output, vectors, TOLERANCE)


def _check_supervised(golden: Path) -> Iterator[ParityCheck]:
    state = unwrap_checkpoint(open_checkpoint(golden / "tiny_supervised_trainer_checkpoint.pt"))
    classes = len(state["classifier.1.bias"])
    vectors = _load_vectors(golden)
    plain = {name: tensor for name, tensor in state.items() if not name.startswith("pre_head_norm.")}
    ways = {"none": plain, "l2": plain}  # latents have length one already
    if find_head(state) is HeadKind.LAYER_NORM:
        ways["layernorm"] = state
    for norm, weights in ways.items():
        yield from _check_head(
            f"supervised_{{}}.{norm}", _classify(golden, weights, classes, vectors["volume"]), vectors
        )


def _check_public_classifier(golden: Path) -> Iterator[ParityCheck]:
    state = unwrap_checkpoint(open_checkpoint(golden / "tiny_lipro.pt"))
    vectors = _load_vectors(golden)
    logits = _classify(golden, state, len(state["classifier.bias"]), vectors["volume"])
    yield from _check_head("lipro_{}", logits, vectors)


def _check_head(name: str, logits: Tensor, vectors: Mapping[str, Tensor]) -> Iterator[ParityCheck]:
    yield from _compare_known(name.format("logits"), logits, vectors, TOLERANCE)
    yield from _compare_known(name.format("probabilities"), compute_label_probabilities(logits), vectors, TOLERANCE)


def _classify(golden: Path, state: Mapping[str, Tensor], classes: int, volume: Tensor) -> Tensor:
    architecture = ClassifierArchitecture(classes, find_head(state), read_architecture(golden))
    logits: Tensor = make_classifier(architecture, read_classifier(architecture, state))(volume)
    return logits


def _check_layouts(golden: Path) -> Iterator[ParityCheck]:
    """Count the keys of the full-size networks whose name or shape differs."""
    table = json.loads((golden / "full_state_dict.json").read_text())
    product = ClassifierArchitecture(table["supervised_classifier_num_classes"], HeadKind.LAYER_NORM)
    public = ClassifierArchitecture(table["lipro_num_classes"], HeadKind.RECTIFIED)
    layouts: Mapping[str, Mapping[str, Slot]] = {
        "ctclip": describe_layout(Architecture()),
        "supervised_classifier": describe_classifier_layout(product),
        "lipro_classifier": describe_classifier_layout(public),
    }
    for name, layout in layouts.items():
        ours = {(key, slot.shape) for key, slot in layout.items()}
        theirs = {(key, tuple(shape)) for key, (shape, _) in table[name].items()}
        yield ParityCheck(f"full_size/keys of {name}", float(len(ours ^ theirs)), 0.0)


def _check_preprocessing(golden: Path) -> Iterator[ParityCheck]:
    table = json.loads((golden / "preprocessing_golden.json").read_text())
    arrays = {name: each.numpy() for name, each in load_golden(golden / "preprocessing_golden.safetensors").items()}
    for case in table["cases"]:
        for variant in case["variants"]:
            yield _check_case(case, variant, arrays)
    rows = [*table["length_table_rows_where_they_differ"], *table["length_table_sample"]]
    for position, variant in ((3, Variant.PUBLIC), (4, Variant.PREDECESSOR)):
        wrong = sum(_plan_length(row, variant) != row[position] for row in rows)
        yield ParityCheck(f"preprocessing/lengths {variant}", float(wrong), 0.0)


def _check_case(case: Mapping[str, Any], variant: str, arrays: Mapping[str, Any]) -> ParityCheck:
    """Compare the whole input: the box with its values, and -1 around it."""
    name, expected = case["name"], case["variants"][variant]
    volume = _make_volume(arrays[f"{name}.input"], case["spacing_xyz_mm"])
    rescale = Rescale(case["slope"], case["intercept"])
    found = prepare(volume, Preprocessing(variant=_VARIANTS[variant]), rescale)[0, 0]
    whole = torch.full(found.shape, -1.0)
    box = tuple(slice(*ends) for ends in zip(expected["box_start"], expected["box_stop"], strict=True))
    whole[box] = torch.from_numpy(arrays[f"{name}.{variant}"])
    return compare(f"preprocessing/{name} {variant}", found, whole, PREPROCESSING_TOLERANCE)


def _make_volume(stored_xyz: Any, spacing_xyz_mm: Sequence[float]) -> Volume:  # noqa: ANN401  # from safetensors
    x, y, z = spacing_xyz_mm
    # The references take any array as if it lay so.
    geometry = Geometry((z, y, x), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    return Volume(np.ascontiguousarray(stored_xyz.transpose(2, 1, 0)), geometry)


def _plan_length(row: Sequence[float], variant: Variant) -> int:
    length, found, wanted = row[:3]
    preprocessing = Preprocessing(variant=variant, spacing_mm=(wanted, wanted, wanted))
    return plan_lengths((int(length),) * 3, (found, found, found), preprocessing)[0]


def _check_tokens(golden: Path) -> Iterator[ParityCheck]:
    """Count the texts whose token ids differ."""
    ids = json.loads((golden / "tokenization_golden.json").read_text(encoding="utf-8"))["ids"]
    if not ids:
        return
    own = golden / VOCABULARY_FILE.name
    vocabulary = (own if own.exists() else VOCABULARY_FILE).read_text(encoding="utf-8")
    tokenizer = make_tokenizer(vocabulary, TextShape().max_position_embeddings)
    token_ids, mask = encode_prompts(tokenizer, list(ids))
    found = [row[: int(length)].tolist() for row, length in zip(token_ids, mask.sum(dim=1), strict=True)]
    wrong = sum(ours != theirs for ours, theirs in zip(found, ids.values(), strict=True))
    yield ParityCheck("token_ids", float(wrong), 0.0)


def _count_differences(found: Tensor, expected: Tensor) -> float:
    return math.inf if found.shape != expected.shape else float((found != expected).sum())
