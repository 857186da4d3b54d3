"""Outputs of a network that can never be the largest, found in its weights alone and left out of its last layer.

A network that was trained on some of the labels of `total` has outputs that are the same in every voxel. Where the mean
of the others is 0 in every voxel, one of them is never below 0, so a constant below 0 is never chosen.
"""

from __future__ import annotations

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import nn

_TOLERANCE = 1e-4
"""How far from 0 the mean of the outputs may be by rounding; a constant must lie further below."""


def drop_silent(network: PlainConvUNet) -> tuple[int, ...]:
    """Leave the outputs that are never the largest out of a network, and return the numbers of those that it keeps."""
    layers = network.decoder.seg_layers
    kept = find_heard(layers[-1])
    if len(kept) < layers[-1].out_channels:
        layers[-1] = _select(layers[-1], kept)
    return kept


def find_heard(layer: nn.Conv3d) -> tuple[int, ...]:
    """Return the outputs of a layer (kernel 1 x 1 x 1) that some voxel could choose: all of them when in doubt."""
    weights = layer.weight.flatten(1)
    everything = tuple(range(len(weights)))
    if layer.bias is None:
        return everything
    is_silent = (weights == 0).all(dim=1) & (layer.bias < -_TOLERANCE)
    heard = ~is_silent
    means = torch.cat((weights[heard].mean(0), layer.bias[heard].mean(0, keepdim=True)))
    if not heard.any() or means.abs().max() > _TOLERANCE:
        return everything
    return tuple(torch.nonzero(heard).flatten().tolist())


def _select(layer: nn.Conv3d, kept: tuple[int, ...]) -> nn.Conv3d:
    selected = nn.Conv3d(layer.in_channels, len(kept), 1, device="meta")
    places = list(kept)
    assert layer.bias is not None
    tensors = {"weight": layer.weight[places].contiguous(), "bias": layer.bias[places].contiguous()}
    selected.load_state_dict(tensors, assign=True)
    return selected.eval().requires_grad_(requires_grad=False)
