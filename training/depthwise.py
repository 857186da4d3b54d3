"""Depthwise 3-D convolution whose backward pass is as fast as its forward pass on the CPU.

Measured (two AVX2 cores, batch 8, 16 channels, 47 x 47 x 39 voxels): PyTorch 2.13 takes 3.1 s for the gradient of
the weight and 2.2 s for the gradient of the input at stride 2, beside 0.07 s for the forward pass. Here both are
written with what is fast: a forward convolution, and matrix products over the lines of the volume, of which only the
diagonals are wanted (13 times too many products, and still four times faster than taking tap by tap).
"""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def speed_up_depthwise(model: nn.Module) -> None:
    """Give every depthwise convolution of a model the faster backward pass. Weights and answers stay the same."""
    for module in model.modules():
        if isinstance(module, nn.Conv3d) and 1 < module.groups == module.in_channels == module.out_channels:
            module.__class__ = FastDepthwise


class FastDepthwise(nn.Conv3d):
    """A depthwise convolution of odd kernel, "same" padding and stride 1 or 2."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of (b, c, x, y, z)."""
        convolved: Tensor = _Depthwise.apply(x, self.weight, self.stride[0])  # type: ignore[no-untyped-call]  # of torch
        assert self.bias is not None
        return convolved + self.bias[:, None, None, None]


class _Depthwise(torch.autograd.Function):
    """`conv3d(x, weight, stride, padding=k // 2, groups=c)`, with its gradients written out."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:  # noqa: ANN401  # torch's untyped context
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return _convolve(x, weight, stride)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN401
        x, weight = ctx.saved_tensors
        spread = _spread(gradients[0], x, ctx.stride)
        # With stride 1 the gradient of a convolution is the convolution with the kernel turned round.
        return _convolve(spread, weight.flip(2, 3, 4), 1), _compute_weight_gradient(x, weight, spread), None


def _convolve(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    weight = weight.contiguous(memory_format=torch.channels_last_3d)
    return functional.conv3d(x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=len(weight))


def _spread(gradient: Tensor, x: Tensor, stride: int) -> Tensor:
    """Return the gradient on the grid of the input, with zeros where the stride passes over."""
    if stride == 1:
        return gradient.contiguous(memory_format=torch.channels_last_3d)
    spread = torch.zeros_like(x, memory_format=torch.channels_last_3d)
    spread[:, :, ::stride, ::stride, ::stride] = gradient
    return spread


def _compute_weight_gradient(x: Tensor, weight: Tensor, gradient: Tensor) -> Tensor:
    """Return, for each tap, the sum over voxels of the gradient times the input under the tap."""
    size = weight.shape[-1]
    half = size // 2
    channels, (width, height, depth) = x.shape[0] * x.shape[1], x.shape[2:]
    lines = height + 2 * half  # lines of one plane; a tap along x or y is a shift by whole lines
    # Padded so that a line runs into the next plane's padding, never into its voxels.
    padded = (
        functional.pad(x, (half, half, half, half, half, half + 1)).contiguous().view(channels, -1, depth + 2 * half)
    )
    wanted = functional.pad(gradient, (0, 0, 0, 2 * half)).contiguous().view(channels, width * lines, depth)
    result = torch.empty_like(weight)
    for x_tap, y_tap in product(range(size), repeat=2):
        start = x_tap * lines + y_tap
        products = torch.bmm(wanted.transpose(1, 2), padded[:, start : start + width * lines])
        for z_tap in range(size):
            taps = products.diagonal(z_tap, dim1=1, dim2=2).sum(-1)
            result[:, 0, x_tap, y_tap, z_tap] = taps.view(x.shape[0], -1).sum(dim=0)
    return result
