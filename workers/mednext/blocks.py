"""The two blocks of MedNeXt, and the layer norm that its other variant uses.

Paper:   Roy et al., "MedNeXt: Transformer-driven Scaling of ConvNets for Medical Image Segmentation", MICCAI 2023,
         arXiv 2303.09975, figure 1; global response normalisation: Woo et al., "ConvNeXt V2", arXiv 2301.00808.
Origin:  ours, with the names of MONAI 1.6.1 (Apache-2.0), whose blocks give the same bits: a test holds them against
         each other. Importing one of those imports all of MONAI, which doubles the time that a worker takes to start.

Tensors are (b, c, x, y, z).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.mednext.configuration import NormKind

NORM_EPSILON = 1e-5
RESPONSE_EPSILON = 1e-6

_SPACE = (2, 3, 4)


class ChannelLayerNorm(nn.Module):
    """Layer norm over the channels of each voxel (biased variance). MONAI's `norm_type="layer"` is another one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (b, c, x, y, z) over c."""
        channels_last = x.movedim(1, -1)
        normalised = functional.layer_norm(channels_last, self.weight.shape, self.weight, self.bias, NORM_EPSILON)
        return normalised.movedim(-1, 1)


class Pointwise(nn.Conv3d):
    """A convolution of single voxels, with a bias."""

    bias: Tensor

    def __init__(self, width: int, out_width: int, stride: int = 1) -> None:
        super().__init__(width, out_width, kernel_size=1, stride=stride)


class MedNeXtBlock(nn.Module):
    """Depthwise convolution, norm, expansion by `ratio`, GELU, response norm where asked for, compression, residual."""

    stride = 1

    def __init__(
        self, width: int, out_width: int, ratio: int, *, kernel_size: int, norm: NormKind, has_response_norm: bool
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(width, width, kernel_size, self.stride, kernel_size // 2, groups=width)
        self.norm = ChannelLayerNorm(width) if norm is NormKind.LAYER else nn.GroupNorm(width, width, NORM_EPSILON)
        self.conv2 = Pointwise(width, ratio * width)
        self.act = nn.GELU()
        self.conv3 = Pointwise(ratio * width, out_width)
        self.has_response_norm = has_response_norm
        if has_response_norm:
            self.global_resp_beta = nn.Parameter(torch.zeros(1, ratio * width, 1, 1, 1))
            self.global_resp_gamma = nn.Parameter(torch.zeros(1, ratio * width, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, c, x, y, z) of (b, c, x, y, z)."""
        return x + self.mix(x)

    def mix(self, x: Tensor) -> Tensor:
        """Return the block without its residual."""
        expanded = self.act(self.conv2(self.norm(self.conv1(x))))
        if self.has_response_norm:
            expanded = self._respond(expanded)
        mixed: Tensor = self.conv3(expanded)
        return mixed

    def _respond(self, expanded: Tensor) -> Tensor:
        energy = torch.norm(expanded, p=2, dim=_SPACE, keepdim=True)  # (b, e, 1, 1, 1)
        share = energy / (energy.mean(dim=1, keepdim=True) + RESPONSE_EPSILON)
        answered: Tensor = self.global_resp_gamma * (expanded * share) + self.global_resp_beta + expanded
        return answered


class MedNeXtDownBlock(MedNeXtBlock):
    """A block that halves each axis; its residual is a strided convolution of single voxels."""

    stride = 2

    def __init__(
        self, width: int, out_width: int, ratio: int, *, kernel_size: int, norm: NormKind, has_response_norm: bool
    ) -> None:
        super().__init__(
            width, out_width, ratio, kernel_size=kernel_size, norm=norm, has_response_norm=has_response_norm
        )
        self.res_conv = Pointwise(width, out_width, self.stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, 2c, x/2, y/2, z/2) of (b, c, x, y, z)."""
        residual: Tensor = self.res_conv(x)
        return self.mix(x) + residual
