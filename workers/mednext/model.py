"""MedNeXt as an encoder-only classifier.

Paper:   Roy et al., "MedNeXt: Transformer-driven Scaling of ConvNets for Medical Image Segmentation", MICCAI 2023,
         arXiv 2303.09975. Global response normalisation (`grn`): Woo et al., "ConvNeXt V2", arXiv 2301.00808.
Origin:  blocks of MONAI 1.6.1 (Apache-2.0), which derive from MIC-DKFZ/MedNeXt (Apache-2.0). The assembly (strided
         stem, five stages, pooled linear head) follows the classifier of FscoreLab/Celsus_PLI, without its code.
Weights: not public for the full size; the demo weights are ours (Apache-2.0), trained on phantoms.
Ours:    the layer norm over channels (MONAI's `norm_type="layer"` normalises over space too).

Tensors are (b, c, x, y, z): NIfTI axis order, as the weights were trained.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from monai.networks.blocks.mednext_block import MedNeXtBlock, MedNeXtDownBlock
from torch import Tensor, nn
from torch.nn import functional

from workers.mednext.configuration import Activation, Architecture, NormKind

NORM_EPSILON = 1e-5


class ChannelLayerNorm(nn.Module):
    """Layer norm over the channels of each voxel (biased variance)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (b, c, x, y, z) over c."""
        channels_last = x.movedim(1, -1)
        normalised = functional.layer_norm(channels_last, self.weight.shape, self.weight, self.bias, NORM_EPSILON)
        return normalised.movedim(-1, 1)


class MedNeXt(nn.Module):
    """Stem, stages of residual blocks with a down block between each two, global average pool, linear head."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a = architecture
        widths = [a.base_channels * 2**stage for stage in range(len(a.depth_config))]
        self.architecture = a
        # No padding: 320 x 320 x 224 becomes 159 x 159 x 111.
        self.stem = nn.Conv3d(a.in_channels, a.base_channels, kernel_size=3, stride=2)
        self.stages = nn.ModuleList(
            nn.Sequential(*(_make_block(width, width, ratio, a) for _ in range(depth)))
            for width, ratio, depth in zip(widths, a.exp_r, a.depth_config, strict=True)
        )
        # A down block expands as the stage that it leads to.
        self.downsamples = nn.ModuleList(
            _make_down_block(width, 2 * width, ratio, a) for width, ratio in zip(widths[:-1], a.exp_r[1:], strict=True)
        )
        self.classifier = nn.Sequential(nn.Dropout(a.dropout), nn.Linear(widths[-1], a.num_classes))

    def forward(self, volume: Tensor) -> Tensor:
        """Return logits (b, classes) of normalised volumes (b, 1, x, y, z)."""
        logits = volume
        for _, activation in self.iterate_activations(volume):
            logits = activation
        return logits

    def iterate_activations(self, volume: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield the name and the output of each step, `logits` last."""
        x = self.stem(volume)  # (b, w, x/2, y/2, z/2)
        yield "stem", x
        for number, stage in enumerate(self.stages):
            if number:
                x = self.downsamples[number - 1](x)  # (b, 2w, x/2, y/2, z/2)
                yield f"downsample{number - 1}", x
            x = stage(x)
            yield f"stage{number}", x
        pooled = x.mean(dim=(2, 3, 4))  # (b, w)
        yield "pooled", pooled
        yield "logits", self.classifier(pooled)

    def activate(self, logits: Tensor) -> Tensor:
        """Return probabilities (b, classes), in float32."""
        if self.architecture.activation is Activation.SOFTMAX:
            return logits.float().softmax(dim=1)
        return logits.float().sigmoid()


def _make_block(width: int, out_width: int, ratio: int, a: Architecture) -> MedNeXtBlock:
    block = MedNeXtBlock(width, out_width, ratio, a.kernel_size, norm_type="group", global_resp_norm=a.grn)
    _choose_norm(block, width, a)
    return block


def _make_down_block(width: int, out_width: int, ratio: int, a: Architecture) -> MedNeXtDownBlock:
    block = MedNeXtDownBlock(
        width,
        out_width,
        ratio,
        a.kernel_size,
        use_residual_connection=True,
        norm_type="group",
        global_resp_norm=a.grn,
    )
    _choose_norm(block, width, a)
    return block


def _choose_norm(block: nn.Module, width: int, a: Architecture) -> None:
    if a.norm_type is NormKind.LAYER:
        block.norm = ChannelLayerNorm(width)
