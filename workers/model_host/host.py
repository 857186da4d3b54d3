"""The host: what all models of one process share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from workers.model_host.allocation import keep_freed_memory, return_freed_memory
from workers.model_host.interruption import make_networks_interruptible
from workers.model_host.memory import MemoryBudget
from workers.model_host.preparations import SharedPreparations


class ModelHost:
    """One turn on the device, the preparations that models share, and the memory that is left for stages.

    The turn is held by the stage whose network runs. Meanwhile another prepares its volume: two networks at once
    would hold two sets of activations and get in each other's way on the same cores or the same GPU.
    """

    def __init__(self) -> None:
        self._device_turn = threading.Lock()
        self.preparations = SharedPreparations()
        self.memory = MemoryBudget(release=self._let_go)

    def _let_go(self) -> None:
        self.preparations.drop_idle()
        return_freed_memory()

    @contextmanager
    def take_turn(self) -> Iterator[None]:
        """Wait for the turn on the device and hold it; what the network took is handed back at its end."""
        with self._device_turn:
            try:
                yield
            finally:
                return_freed_memory()


@cache
def get_host() -> ModelHost:
    """Return the host of this process."""
    keep_freed_memory()
    make_networks_interruptible()
    return ModelHost()
