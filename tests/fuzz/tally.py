"""What happened so far in the fuzzing of one target: counted in memory, and written down for whoever watches."""

from __future__ import annotations

import faulthandler
import hashlib
import json
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.target import Contained, Read

SLOWEST_S = 60.0
"""An input that takes longer in this process is a hang, also on a busy machine: the slowest honest one takes 0.1 s."""

_WRITE_INTERVAL_S = 0.5
_MOST_KEPT = 20
_FRAMES_KEPT = 12


@dataclass
class Tally:
    """Figures of one target. `outcomes` are all that the reader said, `contained` the deaths of children by reason."""

    executions: int = 0
    seeds: int = 0
    corpus: int = 0
    slowest_s: float = 0.0
    failures: int = 0
    outcomes: set[str] = field(default_factory=set)
    contained: Counter[str] = field(default_factory=Counter)


class Recorder:
    """Reads inputs one by one, counts, and keeps those that failed in a folder, each beside what it did."""

    def __init__(self, read: Read, folder: Path, seed: int, *, is_python: bool) -> None:
        self.tally = Tally()
        self._read = read
        self._folder = folder
        self._seed = seed
        self._scratch = folder / "scratch"
        self._scratch.mkdir(parents=True, exist_ok=True)
        self._write_at = 0.0
        # What a busy machine does to this process says nothing of the reader; of a child only the wall clock can tell.
        self._clock = time.process_time if is_python else time.monotonic

    def run(self, content: bytes, *, is_guarded: bool = False) -> bool:
        """Read an input; return whether it did something new. Raises what is not the reader's own.

        `is_guarded` says that somebody else stops an input that hangs.
        """
        tally = self.tally
        tally.executions += 1
        started = self._clock()
        if not is_guarded:
            (self._folder / "current").write_bytes(content)
            faulthandler.dump_traceback_later(SLOWEST_S, exit=True)
        try:
            outcome = self._read(content, self._scratch)
        except Contained as death:
            outcome = f"contained: {death}"
            tally.contained[str(death)] += 1
            if tally.contained.total() <= _MOST_KEPT:
                self._keep("contained", content, str(death))
        except Exception:
            tally.failures += 1
            if tally.failures <= _MOST_KEPT:
                self._keep("failure", content, traceback.format_exc(limit=-_FRAMES_KEPT))
            self.write()
            raise
        finally:
            faulthandler.cancel_dump_traceback_later()
        self._note_time(content, self._clock() - started)
        is_new = outcome not in tally.outcomes
        tally.outcomes.add(outcome)
        if time.monotonic() >= self._write_at:
            self.write()
        return is_new

    def write(self) -> None:
        """Write the figures down."""
        self._write_at = time.monotonic() + _WRITE_INTERVAL_S
        document = {**vars(self.tally), "outcomes": len(self.tally.outcomes)}
        path = self._folder / "tally.json.new"
        path.write_text(json.dumps(document))
        path.replace(self._folder / "tally.json")

    def _note_time(self, content: bytes, seconds: float) -> None:
        if seconds > self.tally.slowest_s:
            self.tally.slowest_s = seconds
            (self._folder / "slowest").write_bytes(content)

    def _keep(self, kind: str, content: bytes, story: str) -> None:
        path = self._folder / f"{kind}-{hashlib.sha256(content).hexdigest()[:16]}"
        path.write_bytes(content)
        path.with_suffix(".txt").write_text(f"seed {self._seed}, execution {self.tally.executions}\n{story}")
