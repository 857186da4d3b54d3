"""The host: what all models of one process share."""

from __future__ import annotations

import threading
from functools import cache

from workers.model_host.interruption import make_networks_interruptible
from workers.model_host.memory import MemoryBudget
from workers.model_host.preparations import SharedPreparations


class ModelHost:
    """One turn on the device, the preparations that models share, and the memory that is left for stages.

    `device_turn` is held by the stage whose network runs. Meanwhile another prepares its volume: two networks at once
    would hold two sets of activations and get in each other's way on the same cores or the same GPU.
    """

    def __init__(self) -> None:
        self.device_turn = threading.Lock()
        self.preparations = SharedPreparations()
        self.memory = MemoryBudget(release=self.preparations.drop_idle)


@cache
def get_host() -> ModelHost:
    """Return the host of this process."""
    make_networks_interruptible()
    return ModelHost()
