"""A network whose finest stage is wider, begun from one that was trained with a narrower: what it knows stays.

The finest stage of the decoder begins as a copy of the next coarser one, each voxel with the eight around it alike, and
goes on from there; begun at random it holds the whole network up, as few steps are spent at full resolution.
"""

from __future__ import annotations

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import Tensor

_OFFSET = 3.0
"""Standard deviations by which normed features are raised, so that the leaky rectifier lets them pass as they are."""

_SKIP_SCALE = 0.1


@torch.no_grad()
def carry_over(narrow: PlainConvUNet, wide: PlainConvUNet, coarser: Tensor) -> None:
    """Fill `wide` from `narrow`.

    `coarser` are features (b, c, z, y, x) of the decoder's stage below the finest, for their spread. The finest stage
    must be at least as wide as that one.
    """
    known = dict(narrow.named_parameters())
    for name, values in wide.named_parameters():
        if name.startswith("encoder.stages.1.") and values.shape != known[name].shape:
            values.zero_()  # new features of the finest stage begin unheard
        places = tuple(slice(0, min(sizes)) for sizes in zip(values.shape, known[name].shape, strict=True))
        values[places] = known[name][places]
    _begin_finest(wide, coarser)


def _begin_finest(wide: PlainConvUNet, coarser: Tensor) -> None:
    """Let the finest stage of the decoder hand on the coarser one's features, and its layer read them alike."""
    width = coarser.shape[1]
    raising, block = wide.decoder.transpconvs[-1], wide.decoder.stages[-1].convs[0]
    raising.weight.zero_()
    raising.bias.zero_()
    block.conv.weight.mul_(_SKIP_SCALE)
    block.conv.bias.zero_()
    for place in range(width):
        raising.weight[place, place] = 1.0
        block.conv.weight[place] = 0.0
        block.conv.weight[place, place] = 1.0
    block.norm.weight.fill_(1.0)
    block.norm.bias.fill_(_OFFSET)
    spread, mean = torch.std_mean(coarser, dim=(0, 2, 3, 4))
    layer, below = wide.decoder.seg_layers[-1], wide.decoder.seg_layers[-2]
    layer.weight.zero_()
    layer.weight[:, :width] = below.weight * spread[:, None, None, None]
    layer.bias.copy_(below.bias + below.weight.flatten(1) @ (mean - _OFFSET * spread))
