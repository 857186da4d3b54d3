"""Pointwise convolutions that train several times as fast on one thread: same weights, same answers, a matrix product.

PyTorch (2.13) gives a kernel of 1 x 1 x 1 on a single thread to an older code path that copies its input first.
"""

from __future__ import annotations

from torch import Tensor, nn


def speed_up_pointwise(network: nn.Module) -> None:
    """Give every convolution of 1 x 1 x 1 the faster pass."""
    for module in network.modules():
        if type(module) is nn.Conv3d and set(module.kernel_size) == {1} and set(module.stride) == {1}:
            module.__class__ = FastPointwise


class FastPointwise(nn.Conv3d):
    """A convolution that looks at one voxel at a time."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of (b, c, z, y, x)."""
        mixed: Tensor = self.weight.flatten(1) @ x.flatten(2)
        if self.bias is not None:
            mixed = mixed + self.bias[:, None]
        return mixed.reshape(len(x), -1, *x.shape[2:])
