"""Our blocks and our grid beside MONAI's, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data.utils import compute_shape_offset, zoom_affine
from monai.networks.blocks import mednext_block as theirs

from workers.mednext.blocks import ChannelLayerNorm, MedNeXtBlock, MedNeXtDownBlock
from workers.mednext.configuration import NormKind
from workers.mednext.preprocess import count_resampled

WIDTH, RATIO = 4, 3


def draw(module: torch.nn.Module) -> torch.nn.Module:
    """Give every parameter a value of its own, the response norm's zeros too."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("has_response_norm", [False, True])
class TestBlocks:
    def test_give_the_bits_of_monais(self, kernel_size: int, has_response_norm: bool) -> None:
        block = draw(theirs.MedNeXtBlock(WIDTH, WIDTH, RATIO, kernel_size, global_resp_norm=has_response_norm))
        down = draw(
            theirs.MedNeXtDownBlock(
                WIDTH,
                2 * WIDTH,
                RATIO,
                kernel_size,
                use_residual_connection=True,
                global_resp_norm=has_response_norm,
            )
        )
        x = torch.randn(2, WIDTH, 9, 8, 7, generator=torch.Generator().manual_seed(1))
        for kind, out_width, other in ((MedNeXtBlock, WIDTH, block), (MedNeXtDownBlock, 2 * WIDTH, down)):
            ours = kind(
                WIDTH,
                out_width,
                RATIO,
                kernel_size=kernel_size,
                norm=NormKind.GROUP,
                has_response_norm=has_response_norm,
            )
            ours.load_state_dict(other.state_dict())
            assert torch.equal(ours(x), other(x))


class TestChannelLayerNorm:
    def test_normalises_each_voxel_over_its_channels(self) -> None:
        with torch.no_grad():
            normalised = ChannelLayerNorm(16)(5 + 3 * torch.randn(1, 16, 3, 3, 3)).numpy()
        assert normalised.mean(axis=1) == pytest.approx(np.zeros((1, 3, 3, 3)), abs=1e-5)
        assert normalised.std(axis=1) == pytest.approx(np.ones((1, 3, 3, 3)), abs=1e-4)


class TestTheGrid:
    @given(
        shape=st.tuples(*[st.integers(2, 600)] * 3),
        found=st.tuples(*[st.sampled_from([0.5, 0.6, 0.703125, 0.75, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0])] * 3),
        turn=st.floats(-0.5, 0.5),
    )
    def test_has_as_many_voxels_as_monais(
        self, shape: tuple[int, int, int], found: tuple[float, float, float], turn: float
    ) -> None:
        affine = np.eye(4)
        rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
        affine[:3, :3] = (rotation @ np.diag(found) * (-1, -1, 1)).astype(np.float32)
        affine[:3, 3] = (151.3, -20.7, 88.1)
        spacing = np.array((1.0, 1.0, 1.5))
        expected, _ = compute_shape_offset(shape, affine, zoom_affine(affine, spacing, diagonal=False))
        assert count_resampled(shape, affine, spacing) == expected.tolist()
