"""Weight files as tensors: by digest, without pickle."""

from __future__ import annotations

import torch
from safetensors import SafetensorError, safe_open

from model_weights.catalogue import WeightFile
from model_weights.verifying import read_description, read_verified, verified_by_the_end, verify
from shared.errors import Defect

__all__ = ["load_tensors", "read_description", "read_verified", "verified_by_the_end", "verify"]


def load_tensors(file: WeightFile, device: torch.device | str = "cpu") -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file that is as pinned; memory mapped where the device is the CPU."""
    verify(file)
    try:
        with safe_open(file.path, framework="pt", device=str(device)) as archive:
            return {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118  # not a mapping
    except SafetensorError as error:
        raise Defect(f"the weight file of role {file.role!r} is not a safetensors file") from error
