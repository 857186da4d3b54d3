"""MedNeXt inference on the CPU without the expansion tensor ever being whole.

The block as written makes, at full size, a tensor of 4 x 32 channels x 159 x 159 x 111 voxels (1.4 GB) three times
over, and spends most of its time moving it. Only two things of a block look beyond one voxel: the depthwise
convolution and the statistics of the norms. So, with channels last:

1. depthwise convolution (fast in this layout: 0.2 s against 1.5 s contiguous, first stage, two AVX2 cores);
2. mean and variance per channel, which fold the norm into the weights of the expansion;
3. expansion, GELU, compression and residual, chunk by chunk in the processor's cache.

Global response norm needs the energy of each expanded channel before the compression: the expansion is then computed
twice. The answers are those of `MedNeXt.forward` up to rounding (measured: logits within 1e-5, see benchmarks.mednext).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from workers.mednext.blocks import RESPONSE_EPSILON, ChannelLayerNorm, MedNeXtBlock, MedNeXtDownBlock
from workers.mednext.model import MedNeXt

CHUNK_ELEMENTS = 2**19
"""Elements of the expansion that are held at once (2 MB in float32): measured best among 2^18 to 2^23."""


@torch.inference_mode()
def predict_logits(model: MedNeXt, volume: Tensor) -> Tensor:
    """Return logits (b, classes) of normalised volumes (b, 1, x, y, z)."""
    logits = volume
    for _, activation in iterate_activations(model, volume):
        logits = activation
    return logits


@torch.inference_mode()
def iterate_activations(model: MedNeXt, volume: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield what `MedNeXt.iterate_activations` yields. An activation is overwritten by the next step: copy to keep."""
    # One input channel lies the same in both layouts; the weight's decides which kernel runs and what comes out.
    weight = model.stem.weight.contiguous(memory_format=torch.channels_last_3d)
    x = functional.conv3d(volume, weight, model.stem.bias, stride=model.stem.stride)  # (b, w, x/2, y/2, z/2)
    x = x.contiguous(memory_format=torch.channels_last_3d)
    yield "stem", x
    for number, stage in enumerate(model.stages):
        if number:
            x = _run_down_block(cast("MedNeXtDownBlock", model.downsamples[number - 1]), x)
            yield f"downsample{number - 1}", x
        for block in cast("Iterable[MedNeXtBlock]", stage):
            x = _run_block(block, x)
        yield f"stage{number}", x
    pooled = x.mean(dim=(2, 3, 4))
    yield "pooled", pooled
    yield "logits", model.classifier(pooled)


def _run_block(block: MedNeXtBlock, x: Tensor) -> Tensor:
    """Return the block of `x`, written over `x`."""
    convolved = _convolve(block, x)
    for rows, out in zip(_as_rows(convolved), _as_rows(x), strict=True):
        _mix_channels(block, rows, out)
    return x


def _run_down_block(block: MedNeXtDownBlock, x: Tensor) -> Tensor:
    """Return the down block of `x`, written over the output of its residual convolution."""
    # Stride 2 with kernel 1 reads every other voxel; taking them first is 8 times less to lay out.
    residual = functional.conv3d(x[:, :, ::2, ::2, ::2], block.res_conv.weight, block.res_conv.bias)
    residual = residual.contiguous(memory_format=torch.channels_last_3d)
    convolved = _convolve(block, x)
    for rows, out in zip(_as_rows(convolved), _as_rows(residual), strict=True):
        _mix_channels(block, rows, out)
    return residual


def _convolve(block: MedNeXtBlock, x: Tensor) -> Tensor:
    convolved: Tensor = block.conv1(x)
    return convolved.contiguous(memory_format=torch.channels_last_3d)


def _as_rows(x: Tensor) -> list[Tensor]:
    """Return one view (voxels, c) per sample of a channels-last (b, c, x, y, z)."""
    return [sample.permute(1, 2, 3, 0).view(-1, x.shape[1]) for sample in x]


def _mix_channels(block: MedNeXtBlock, rows: Tensor, out: Tensor) -> None:
    """Add to `out` (voxels, c_out) what norm, expansion, GELU and compression make of `rows` (voxels, c)."""
    expand, expand_bias = _fold_norm(block, rows)  # (c, e*c), (e*c)
    compress, compress_bias = block.conv3.weight.flatten(1).t(), block.conv3.bias  # (e*c, c_out), (c_out)
    size = max(1, CHUNK_ELEMENTS // expand.shape[1])
    if block.has_response_norm:
        compress, compress_bias = _fold_response(block, rows, size, expand, expand_bias)
    for chunk, target in zip(torch.split(rows, size), torch.split(out, size), strict=True):
        expanded = _expand(block, chunk, expand, expand_bias)
        target.add_(compress_bias).addmm_(expanded, compress)


def _expand(block: MedNeXtBlock, chunk: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if isinstance(block.norm, ChannelLayerNorm):
        chunk = functional.layer_norm(chunk, block.norm.weight.shape, block.norm.weight, block.norm.bias)
    expanded: Tensor = torch.ops.aten.gelu_(torch.addmm(bias, chunk, weight))
    return expanded


def _fold_norm(block: MedNeXtBlock, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return weight (c, e*c) and bias (e*c) of the expansion with the group norm's affine map inside."""
    weight, bias = block.conv2.weight.flatten(1), block.conv2.bias  # (e*c, c)
    if isinstance(block.norm, ChannelLayerNorm):
        return weight.t().contiguous(), bias
    variance, mean = compute_moments(rows)
    scale = block.norm.weight.double() * torch.rsqrt(variance + block.norm.eps)
    shift = block.norm.bias.double() - mean * scale
    folded = (weight * scale).t().to(rows.dtype).contiguous()
    return folded, (bias + weight.double() @ shift).to(rows.dtype)


def compute_moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return biased variance and mean (c) over voxels in float64, merged from chunks (Chan, Golub, LeVeque 1979)."""
    chunks = torch.split(rows, max(1, CHUNK_ELEMENTS // rows.shape[1]))
    moments = [torch.var_mean(chunk, dim=0, correction=0) for chunk in chunks]
    counts = torch.tensor([len(chunk) for chunk in chunks], dtype=torch.float64)[:, None] / len(rows)
    variances, means = (torch.stack(each).double() for each in zip(*moments, strict=True))
    mean = (counts * means).sum(dim=0)
    return (counts * (variances + (means - mean) ** 2)).sum(dim=0), mean


def _fold_response(
    block: MedNeXtBlock, rows: Tensor, size: int, expand: Tensor, expand_bias: Tensor
) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the compression with the global response norm inside: it scales and shifts channels."""
    energy = torch.zeros(expand.shape[1], dtype=torch.float64)
    for chunk in torch.split(rows, size):
        energy += _expand(block, chunk, expand, expand_bias).square().sum(dim=0)
    norm = energy.sqrt()  # (e*c)
    scale = 1 + block.global_resp_gamma.flatten() * (norm / (norm.mean() + RESPONSE_EPSILON))
    weight = block.conv3.weight.flatten(1).double()  # (c_out, e*c)
    bias = block.conv3.bias + weight @ block.global_resp_beta.flatten().double()
    return (weight * scale).t().to(rows.dtype).contiguous(), bias.to(rows.dtype)
