"""Slices as they would look healthy, and how far they are from it.

Paper:   Wolleb et al., "Diffusion Models for Medical Anomaly Detection", arXiv 2203.04306.
Licence: code ours (Apache-2.0), written from the paper.

Slices and maps are (n, c, x, y), maps with one channel.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from workers.diffusion.plan import Plan
from workers.diffusion.process import Process


@torch.inference_mode()
def reconstruct(process: Process, slices: Tensor, plan: Plan, *, seed: int, batch: int) -> Tensor:
    """Return the maps, on the CPU in float32, of slices on the CPU.

    Only `batch` slices are where the networks are. The same seed, batch and machine give the same bits.
    """
    generator = torch.Generator().manual_seed(seed)
    maps = []
    with _repeatable():
        for piece in torch.split(slices, batch):
            # Drawn slice by slice, so that the noise of a slice does not depend on the batch.
            noise = torch.stack([torch.randn(plan.draws, *each.shape, generator=generator) for each in piece])
            images = piece.to(process.device)
            decoded = [_decode(process, images, each.to(process.device), plan) for each in noise.unbind(dim=1)]
            maps.append(measure_errors(images, torch.stack(decoded).mean(dim=0))[0].float().cpu())
    return torch.cat(maps)


def _decode(process: Process, images: Tensor, noise: Tensor, plan: Plan) -> Tensor:
    """Return images as they would look healthy, encoded or, where the plan does not encode, from noise over them."""
    start = process.add_noise(images, process.noise_level, noise)
    if plan.encoding:
        start = process.follow(images, plan.encoding, is_guided=False)
    return process.follow(start, plan.decoding, is_guided=True)


def measure_errors(images: Tensor, decoded: Tensor) -> tuple[Tensor, Tensor]:
    """Return maps (n, 1, x, y) of the absolute difference, summed over channels, and their means (n,)."""
    maps = (images - decoded).abs().sum(dim=1, keepdim=True)
    return maps, average(maps)


def average(maps: Tensor) -> Tensor:
    """Return the mean of each map (n,)."""
    return maps.flatten(1).mean(dim=1)


@contextmanager
def _repeatable() -> Iterator[None]:
    """Choose kernels that add in the same order every time."""
    deterministic = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with deterministic, sdpa_kernel(SDPBackend.MATH):
        yield
