"""Lets a network that runs be stopped between two of its modules: nobody waits for the answer of a cancelled job."""

from __future__ import annotations

from functools import cache

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from workers.runtime.interruption import raise_if_unwanted


@cache
def make_networks_interruptible() -> None:
    """Look before every module of every network of this process whether its work is still wanted."""
    register_module_forward_pre_hook(_look)


def _look(_module: nn.Module, _arguments: tuple[object, ...]) -> None:
    if not torch.compiler.is_compiling():
        raise_if_unwanted()
