"""A small question to a segmentation network, and what it answers: proof that the loaded network is the one meant."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from model_weights.catalogue import ModelEntry
from shared.errors import Defect
from workers.segmentation.configuration import Architecture

CPU_TOLERANCE = 1e-4
"""Largest difference of a logit in float32, as a share of the largest; other processors round differently."""

HALF_TOLERANCE = 2e-2
"""The same where a GPU runs in float16."""

_SEED = 11
_WINDOWS_OF_STRIDE = 2
_EVERY = 8
"""Logits are kept of every eighth voxel along each axis."""


class KnownAnswer:
    """`question` is a window (1, 1, z, y, x) of noise; of the answer (1, c, z, y, x) some voxels are kept."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        if set(tensors) != {"input", "logits"}:
            raise Defect(f"a known answer of the segmentation has input and logits, not {sorted(tensors)}")
        self.question = tensors["input"].float()
        self._logits = tensors["logits"]

    def require_given(self, entry: ModelEntry, logits: Tensor, *, is_exact: bool) -> None:
        """Raise Defect when a network's answer (1, c, z, y, x) is another one."""
        found = _thin(logits).float()
        scale = float(self._logits.abs().max())
        error = float((found - self._logits).abs().max()) if found.shape == self._logits.shape else float("inf")
        tolerance = (CPU_TOLERANCE if is_exact else HALF_TOLERANCE) * scale
        if not error <= tolerance:
            raise Defect(
                f"model {entry.name} gives another answer than its known one: a logit is off by {error:.2g}, tolerated"
                f" are {tolerance:.2g}",
                digest=entry.digest,
            )


@torch.inference_mode()
def make_known_answer(network: nn.Module, architecture: Architecture) -> dict[str, Tensor]:
    """Return the tensors of a known answer, computed by the network in float32."""
    shape = [_WINDOWS_OF_STRIDE * stride for stride in architecture.stride_zyx]
    noise = torch.randn((1, 1, *shape), generator=torch.Generator().manual_seed(_SEED))
    question = noise.half()  # half the size, and exact when read back
    return {"input": question, "logits": _thin(network(question.float())).contiguous()}


def _thin(logits: Tensor) -> Tensor:
    return logits[..., ::_EVERY, ::_EVERY, ::_EVERY]
