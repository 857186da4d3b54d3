"""Where networks run."""

from __future__ import annotations

import torch


def choose_device() -> torch.device:
    """Return the GPU where there is one, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
