"""MedNeXt as an encoder-only classifier.

Paper:   Roy et al., "MedNeXt: Transformer-driven Scaling of ConvNets for Medical Image Segmentation", MICCAI 2023,
         arXiv 2303.09975. Global response normalisation (`grn`): Woo et al., "ConvNeXt V2", arXiv 2301.00808.
Origin:  the assembly (strided stem, five stages, pooled linear head) follows the classifier of FscoreLab/Celsus_PLI,
         without its code.
Weights: not public for the full size; the demo weights are ours (Apache-2.0), trained on phantoms.

Tensors are (b, c, x, y, z): NIfTI axis order, as the weights were trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from workers.mednext.blocks import MedNeXtBlock, MedNeXtDownBlock
from workers.mednext.configuration import Activation, Architecture


class MedNeXt(nn.Module):
    """Stem, stages of residual blocks with a down block between each two, global average pool, linear head."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a = architecture
        widths = [a.base_channels * 2**stage for stage in range(len(a.depth_config))]
        self.architecture = a
        # No padding: 320 x 320 x 224 becomes 159 x 159 x 111.
        self.stem = nn.Conv3d(a.in_channels, a.base_channels, kernel_size=3, stride=2)
        kind: dict[str, Any] = {"kernel_size": a.kernel_size, "norm": a.norm_type, "has_response_norm": a.grn}
        self.stages = nn.ModuleList(
            nn.Sequential(*(MedNeXtBlock(width, width, ratio, **kind) for _ in range(depth)))
            for width, ratio, depth in zip(widths, a.exp_r, a.depth_config, strict=True)
        )
        # A down block expands as the stage that it leads to.
        self.downsamples = nn.ModuleList(
            MedNeXtDownBlock(width, 2 * width, ratio, **kind)
            for width, ratio in zip(widths[:-1], a.exp_r[1:], strict=True)
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
