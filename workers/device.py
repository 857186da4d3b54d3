"""Where networks run, and in which arithmetic."""

from __future__ import annotations

import platform
from dataclasses import dataclass

import torch

from shared.precision import Precision

_BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")
"""By their names in `torch.cpu.get_capabilities()`."""


@dataclass(frozen=True)
class ComputeMode:
    """How a network runs: its precision, and whether torch compiles it first."""

    precision: Precision = Precision.FP32
    is_compiled: bool = False

    def autocast(self, device: torch.device) -> torch.autocast:
        """Return the context in which a network runs: bfloat16 where that is asked for, else as it is stored."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision is Precision.BF16)

    def needs_real_shape(self, device: torch.device) -> bool:
        """Whether the first study of a new shape takes much longer than the next: kernels are chosen or compiled."""
        return self.is_compiled or device.type != "cpu"


def choose_device() -> torch.device:
    """Return the GPU where there is one, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def list_bfloat16_instructions() -> list[str]:
    """Return what this processor has for bfloat16; with none it is emulated, and slower than float32."""
    capabilities = torch.cpu.get_capabilities()
    return [name for name in _BFLOAT16_INSTRUCTIONS if capabilities.get(name)]


def describe_kind(device: torch.device) -> str:
    """Return the kind of a device, by which measurements are kept: its instructions round as those of its kind do.

    How fast it is goes by its kind, too.
    """
    if device.type == "cpu":
        instructions = (torch.backends.cpu.get_cpu_capability(), *list_bfloat16_instructions())
        return f"cpu {platform.machine()} {' '.join(instructions)}"
    return f"{device.type} {torch.cuda.get_device_name(device)}"
