"""What a request does and the entry that tells of it: one transaction, wherever the effect stands in our database.

The gate leaves the entry to be made here; whoever changes rows for a caller does it through `Resources.transact_deed`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace

from sqlalchemy.orm import Session

from shared.audit import Deed, record

_LONGEST_TARGET = 200


class PendingDeed:
    """The entry that a request is to leave. `deed.status` is unknown until it is written."""

    def __init__(self, deed: Deed) -> None:
        self._deed = deed
        self.kept_status: int | None = None
        """The status of the entry that was committed together with the effect, None before there is one."""

    def write(self, session: Session, status: int, target: str | None = None) -> None:
        """Add the entry. Last in its transaction, as the entries of others wait from here on."""
        chosen = _make_storable(target or self._deed.target)[:_LONGEST_TARGET]
        record(session, replace(self._deed, target=chosen, status=status))


_current: ContextVar[PendingDeed | None] = ContextVar("pending_deed", default=None)


def get_pending_deed() -> PendingDeed | None:
    """Return the entry that the request of this context is to leave, or None where none is."""
    return _current.get()


@contextmanager
def leaving(deed: PendingDeed) -> Iterator[None]:
    """Let everything inside the block find the entry."""
    token = _current.set(deed)
    try:
        yield
    finally:
        _current.reset(token)


def _make_storable(target: str) -> str:
    """Return an address without what a database or a terminal chokes on: a caller may ask for `%00`."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in target)
