"""Prepared volumes that several models of one process ask for alike: made once, let go once all have had them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

_Prepared = TypeVar("_Prepared")

IDLE_LIMIT_S = 30.0
"""How long one is kept that nobody uses at the moment but somebody may yet ask for (0.2 GB at CT-CLIP's size).

The stages of one job become ready together, so the others ask soon or, where the job left them out, never.
"""


@dataclass
class _Entry:
    expected: int
    users: int = 0
    made: Future[Any] = field(default_factory=Future)


class SharedPreparations:
    """A small single-flight cache. `preprocessing` is what is done to a volume, `digest` the volume's content."""

    def __init__(self, idle_limit_s: float = IDLE_LIMIT_S) -> None:
        self._idle_limit_s = idle_limit_s
        self._sharers: Counter[Hashable] = Counter()
        self._entries: dict[tuple[Hashable, str], _Entry] = {}
        self._lock = threading.Lock()

    def expect(self, preprocessing: Hashable) -> None:
        """Say that one more model of this process prepares volumes so."""
        self._sharers[preprocessing] += 1

    @contextmanager
    def share(self, preprocessing: Hashable, digest: str | None, make: Callable[[], _Prepared]) -> Iterator[_Prepared]:
        """Yield the prepared volume, which is not to be written to. One caller makes it while the others wait.

        A volume without a digest, and one that a single model asks for, is made and not kept. Raises what `make` does.
        """
        if digest is None or self._sharers[preprocessing] < 2:
            yield make()
            return
        key = (preprocessing, digest)
        entry, is_maker = self._enter(key)
        try:
            if is_maker:
                self._fulfil(entry, make)
            yield entry.made.result()
        finally:
            self._leave(key, entry)

    def drop_idle(self) -> None:
        """Let go of every preparation that nobody uses at the moment."""
        with self._lock:
            self._drop_idle()

    def count(self) -> int:
        """Return how many preparations are held."""
        with self._lock:
            return len(self._entries)

    def _enter(self, key: tuple[Hashable, str]) -> tuple[_Entry, bool]:
        with self._lock:
            entry = self._entries.get(key)
            is_maker = entry is None
            if entry is None:
                self._drop_idle()
                entry = self._entries[key] = _Entry(expected=self._sharers[key[0]])
            entry.users += 1
            return entry, is_maker

    def _fulfil(self, entry: _Entry, make: Callable[[], object]) -> None:
        try:
            entry.made.set_result(make())
        except BaseException as error:
            entry.made.set_exception(error)
            raise

    def _leave(self, key: tuple[Hashable, str], entry: _Entry) -> None:
        with self._lock:
            entry.users -= 1
            entry.expected -= 1
            if entry.users:
                return
            if entry.expected <= 0 or entry.made.exception() is not None:
                self._drop(key, entry)
                return
        timer = threading.Timer(self._idle_limit_s, self._drop_if_idle, (key, entry))
        timer.daemon = True
        timer.start()

    def _drop_if_idle(self, key: tuple[Hashable, str], entry: _Entry) -> None:
        with self._lock:
            if not entry.users:
                self._drop(key, entry)

    def _drop_idle(self) -> None:
        self._entries = {key: entry for key, entry in self._entries.items() if entry.users}

    def _drop(self, key: tuple[Hashable, str], entry: _Entry) -> None:
        if self._entries.get(key) is entry:
            del self._entries[key]
