"""A commit that succeeds while its answer is lost, as when the connection breaks just then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session


@contextmanager
def lost_answer_to_commit(of: Callable[[object], bool]) -> Iterator[None]:
    """Lose the answer to every commit that brings a row for which `of` holds."""

    def note(session: Session, _context: object) -> None:
        session.info["is_watched"] = session.info.get("is_watched", False) or any(of(row) for row in session.new)

    def lose(session: Session) -> None:
        if session.info.get("is_watched"):
            raise OperationalError("COMMIT", None, Exception("server closed the connection unexpectedly"))

    event.listen(Session, "after_flush", note)
    event.listen(Session, "after_commit", lose)
    try:
        yield
    finally:
        event.remove(Session, "after_flush", note)
        event.remove(Session, "after_commit", lose)
