"""The published layout of CT-CLIP: what each key is called there, how it is shaped, and what becomes of it here.

The layout is that of `CT-CLIP_v2.pt` and of its fine-tuned descendants, which carry it under a prefix. A checkpoint
must have exactly these keys. Half of them (0.6 GB: decoders, second projections, statistics) serve only training and
are dropped once their shapes are checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model_weights.matching import Shape, require_fit
from shared.errors import Defect
from workers.ct_clip.configuration import Architecture, ImageShape
from workers.ct_clip.model import CTCLIP

_POSITION_IDS = "text_transformer.embeddings.position_ids"
_INITIALISED = "visual_transformer.vq._codebook.initted"
_PROJECTION = "to_visual_latent.weight"
_TEMPERATURE = "temperature"
_NAMES_SHOWN = 8
_FIRST_GENERATION_PROJECTION = 2_097_152
"""Inputs of the image projection in the weights from before October 2024: another geometry, no mean over slices."""

_TOWERS = (
    ("image.projection.", "to_visual_latent."),
    ("image.encoder.", "visual_transformer."),
    ("text.projection.", "to_text_latent."),
    ("text.encoder.", "text_transformer."),
)
_IMAGE_PARTS = (
    (".patch_embedding.norm.", ".to_patch_emb.1."),
    (".patch_embedding.project.", ".to_patch_emb.2."),
    (".patch_embedding.project_norm.", ".to_patch_emb.3."),
    (".position_bias.network.0.", ".spatial_rel_pos_bias.net.0.0."),
    (".position_bias.network.2.", ".spatial_rel_pos_bias.net.1.0."),
    (".position_bias.network.4.", ".spatial_rel_pos_bias.net.2."),
    (".code_book.codes", ".vq._codebook.embed"),
    (".positions.convolution.", ".0.dsconv."),
    (".attention.norm.weight", ".1.norm.gamma"),
    (".attention.norm.bias", ".1.norm.beta"),
    (".attention.query.", ".1.to_q."),
    (".attention.key_value.", ".1.to_kv."),
    (".attention.output.", ".1.to_out."),
    (".attention.query_scale", ".1.q_scale"),
    (".attention.key_scale", ".1.k_scale"),
    (".feed_forward.norm.", ".3.0."),
    (".feed_forward.expand.", ".3.1."),
    (".feed_forward.contract.", ".3.4."),
    ("al.norm.weight", "al.norm_out.gamma"),
    ("al.norm.bias", "al.norm_out.beta"),
    (".spatial.", ".enc_spatial_transformer."),
    (".temporal.", ".enc_temporal_transformer."),
)


@dataclass(frozen=True)
class Slot:
    """One key of a published layout: its shape, and what we call it; `ours` is None for what inference does not use."""

    shape: Shape
    ours: str | None = None


def describe_layout(architecture: Architecture) -> Mapping[str, Slot]:
    """Return every key of a plain CT-CLIP checkpoint, the optional one included."""
    with torch.device("meta"):
        model = CTCLIP(architecture)
    used = {rename_key(name): Slot(_shape(name, tensor), name) for name, tensor in model.state_dict().items()}
    return used | {name: Slot(shape) for name, shape in _iterate_unused(architecture)}


def rename_key(ours: str) -> str:
    """Return the published name of one of our parameters."""
    published = ours
    for part, theirs in _TOWERS:
        published = published.replace(part, theirs)
    if published.startswith("visual_transformer."):
        for part, theirs in _IMAGE_PARTS:
            published = published.replace(part, theirs)
    return published


def read_tensors(
    model: str, layout: Mapping[str, Slot], state: Mapping[str, Tensor], prefix: str = ""
) -> dict[str, Tensor]:
    """Return the tensors that inference uses, in float32 and by our names, of a state dict of exactly this layout.

    `prefix` stands before the keys of CT-CLIP. Raises Defect naming what is missing, unexpected, of another shape or
    spoilt; the message names the model.
    """
    _refuse_first_generation(state.get(prefix + _PROJECTION))
    require_fit(
        model,
        {name: slot.shape for name, slot in layout.items()},
        {name: tuple(tensor.shape) for name, tensor in state.items()},
        optional={prefix + _POSITION_IDS},
    )
    _require_sound(state, prefix)
    used = {name: slot.ours for name, slot in layout.items() if slot.ours is not None}
    taken = {name: take_tensor(state[name], ours) for name, ours in used.items() if state[name].is_floating_point()}
    _refuse("are no floating-point numbers", sorted(used.keys() - taken.keys()))
    _refuse("hold values that are not finite", [name for name, tensor in taken.items() if not _is_finite(name, tensor)])
    return {used[name]: tensor for name, tensor in taken.items()}


def _shape(ours: str, tensor: Tensor) -> Shape:
    # The quantiser's library has an axis for several code books, of which CT-CLIP has one.
    return (1, *tensor.shape) if ours.endswith("code_book.codes") else tuple(tensor.shape)


def take_tensor(tensor: Tensor, ours: str) -> Tensor:
    """Return a published tensor in float32 and in the shape that it has here."""
    return (tensor[0] if ours.endswith("code_book.codes") else tensor).float()


def _iterate_unused(architecture: Architecture) -> Iterator[tuple[str, Shape]]:
    image, text, latent = architecture.image, architecture.text, architecture.dim_latent
    yield _POSITION_IDS, (1, text.max_position_embeddings)
    yield "text_transformer.pooler.dense.weight", (text.hidden_size, text.hidden_size)
    yield "text_transformer.pooler.dense.bias", (text.hidden_size,)
    yield "to_text_latent_extra.weight", (latent, text.hidden_size)
    yield "to_visual_latent_extra.weight", (latent, image.pooled_size)
    for name, shape in _iterate_unused_of_image(image):
        yield f"visual_transformer.{name}", shape


def _iterate_unused_of_image(image: ImageShape) -> Iterator[tuple[str, Shape]]:
    dim, frame = image.dim, image.channels * image.patch_size**2
    for number, shape in ((1, (frame,)), (2, (dim, frame)), (3, (dim,))):
        yield f"to_patch_emb_first_frame.{number}.weight", shape
        yield f"to_patch_emb_first_frame.{number}.bias", shape[:1]
    for name, voxels in (("to_pixels", image.patch_voxels), ("to_pixels_first_frame", frame)):
        yield f"{name}.0.weight", (voxels, dim)
        yield f"{name}.0.bias", (voxels,)
    yield "vq._codebook.initted", (1,)
    yield "vq._codebook.cluster_size", (1, image.codebook_size)
    for kind, depth in (("spatial", image.spatial_depth), ("temporal", image.temporal_depth)):
        for layer in range(depth):
            attention = f"enc_{kind}_transformer.layers.{layer}.1"
            yield f"{attention}.null_kv", (image.heads, 0, image.dim_head)
            yield f"{attention}.context_norm.gamma", (dim,)
            yield f"{attention}.context_norm.beta", (dim,)


def _refuse_first_generation(projection: Tensor | None) -> None:
    if projection is not None and projection.shape[-1] == _FIRST_GENERATION_PROJECTION:
        raise Defect(
            "the checkpoint is of CT-CLIP's first generation (before October 2024: larger patches, no mean over slices)"
            "; take the second (CT-CLIP_v2.pt, CT_VocabFine_v2.pt, CT_LiPro_v2.pt)"
        )


def _is_finite(name: str, tensor: Tensor) -> bool:
    """Return whether all values can be used; of the temperature it is the exponential that is."""
    return bool((tensor.exp() if name == _TEMPERATURE else tensor).isfinite().all())


def _refuse(what: str, names: Sequence[str]) -> None:
    if names:
        shown = ", ".join(names[:_NAMES_SHOWN])
        raise Defect(f"{len(names)} tensors of the checkpoint {what}, it is not usable: {shown}")


def _require_sound(state: Mapping[str, Tensor], prefix: str) -> None:
    if not bool((state[prefix + _INITIALISED] == 1).all()):
        raise Defect(f"{prefix}{_INITIALISED} is not 1: the code book was never filled, the checkpoint is not usable")
    positions = state.get(prefix + _POSITION_IDS)
    if positions is not None and not torch.equal(positions[0].long(), torch.arange(positions.shape[1])):
        raise Defect(f"{prefix}{_POSITION_IDS} does not count from 0: the checkpoint is not usable")
