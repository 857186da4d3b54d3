"""Interruption: work that reports nothing for long looks here whether anybody still wants it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_check: ContextVar[Callable[[], None] | None] = ContextVar("check", default=None)


@contextmanager
def interruptible(check: Callable[[], None]) -> Iterator[None]:
    """Let what runs inside, in this thread, be ended by `check`, which raises when the work is no longer wanted."""
    token = _check.set(check)
    try:
        yield
    finally:
        _check.reset(token)


def raise_if_unwanted() -> None:
    """Look whether the work of this thread is still wanted; cheap enough for every layer of a network."""
    check = _check.get()
    if check is not None:
        check()
