"""The published layout of both networks: what each key is called there. None is dropped."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from model_weights.matching import Shape, require_fit
from workers.checkpoint import require_finite_numbers
from workers.diffusion.classifier import SliceClassifier
from workers.diffusion.configuration import ClassifierShape, UNetShape
from workers.diffusion.unet import UNet

_PARTS = (
    ("time_embedding.first.", "time_embed.0."),
    ("time_embedding.second.", "time_embed.2."),
    ("label_embedding.", "label_emb."),
    ("encoder.steps.", "input_blocks."),
    ("encoder.middle.", "middle_block."),
    ("decoder.", "output_blocks."),
    ("head_norm.", "out.0."),
    ("head_convolution.", "out.2."),
    ("pool.positions", "out.2.positional_embedding"),
    ("pool.query_key_value.", "out.2.qkv_proj."),
    ("pool.output.", "out.2.c_proj."),
    (".first_norm.", ".in_layers.0."),
    (".first_convolution.", ".in_layers.2."),
    (".modulation.", ".emb_layers.1."),
    (".second_norm.", ".out_layers.0."),
    (".second_convolution.", ".out_layers.3."),
    (".skip.", ".skip_connection."),
    (".query_key_value.", ".qkv."),
    (".output.", ".proj_out."),
    (".strided.", ".op."),
    (".convolution.", ".conv."),
)


def describe_unet_layout(shape: UNetShape) -> Mapping[str, tuple[str, Shape]]:
    """Return every published key of a noise predictor -> our key and its shape."""
    with torch.device("meta"):
        return _describe(UNet(shape))


def describe_classifier_layout(shape: ClassifierShape) -> Mapping[str, tuple[str, Shape]]:
    """Return every published key of a slice classifier -> our key and its shape."""
    with torch.device("meta"):
        return _describe(SliceClassifier(shape))


def read_unet(shape: UNetShape, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of `UNet` from a published state dict. Raises Defect when it is not of this layout."""
    return _read("the noise predictor", describe_unet_layout(shape), state)


def read_classifier(shape: ClassifierShape, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of `SliceClassifier` from a published state dict. Raises Defect as above."""
    return _read("the slice classifier", describe_classifier_layout(shape), state)


def rename_key(ours: str) -> str:
    """Return the published name of one of our parameters."""
    published = ours
    for part, theirs in _PARTS:
        published = published.replace(part, theirs)
    return published


def _describe(network: nn.Module) -> dict[str, tuple[str, Shape]]:
    return {rename_key(name): (name, tuple(tensor.shape)) for name, tensor in network.state_dict().items()}


def _read(model: str, layout: Mapping[str, tuple[str, Shape]], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    require_fit(
        model,
        {theirs: shape for theirs, (_, shape) in layout.items()},
        {theirs: tuple(tensor.shape) for theirs, tensor in state.items()},
    )
    require_finite_numbers(state)
    return {ours: state[theirs].float() for theirs, (ours, _) in layout.items()}
