"""The journal of a batch: what was planned, submitted and answered, line by line, on the disk before it counts.

The key under which a study is submitted is written before the study is sent. A batch that is killed at any moment and
started again submits under the same key, which leads to the same job: nothing is read twice and nothing is left out.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from client.batch.outcomes import Outcome
from client.batch.studies import Study

if sys.platform != "win32":
    import fcntl

VERSION = 1


class JournalRefused(Exception):
    """The journal is in use, or that of another batch."""


@dataclass(frozen=True)
class Entry:
    """Where one study stands: the key it goes under, its job once there is one, its outcome once it has ended."""

    key: str
    size_bytes: int
    modified_ns: int
    job_id: str | None = None
    outcome: Outcome | None = None

    def is_of(self, study: Study) -> bool:
        """Say whether the file is still the one that was planned."""
        return (self.size_bytes, self.modified_ns) == (study.size_bytes, study.modified_ns)


class Journal:
    """The entries of a batch by the name of the study, kept in a file that is open and locked."""

    def __init__(self, file: IO[bytes], entries: dict[str, Entry]) -> None:
        self._file = file
        self._entries = entries

    def plan(self, studies: Sequence[Study]) -> None:
        """Give a key to every study that has none or whose file has changed."""
        self._write([self._plan(study) for study in studies if not self._knows(study)])

    def plan_again(self, study: Study) -> None:
        """Forget what became of a study: it will be submitted under a new key."""
        self._write([self._plan(study)])

    def get(self, study: Study) -> Entry:
        """Return where a planned study stands."""
        return self._entries[study.name]

    def note_job(self, study: Study, job_id: str) -> None:
        """Keep which job a study has."""
        self._entries[study.name] = replace(self._entries[study.name], job_id=job_id)
        self._write([{"kind": "submitted", "name": study.name, "job_id": job_id}])

    def note_outcome(self, study: Study, outcome: Outcome) -> None:
        """Keep what became of a study: it is never submitted again."""
        self._entries[study.name] = replace(self._entries[study.name], outcome=outcome)
        self._write([{"kind": "ended", "name": study.name, "outcome": outcome.dump()}])

    def _knows(self, study: Study) -> bool:
        return study.name in self._entries and self._entries[study.name].is_of(study)

    def _plan(self, study: Study) -> dict[str, Any]:
        entry = Entry(str(uuid.uuid4()), study.size_bytes, study.modified_ns)
        self._entries[study.name] = entry
        facts = {"key": entry.key, "size_bytes": entry.size_bytes, "modified_ns": entry.modified_ns}
        return {"kind": "planned", "name": study.name, **facts}

    def _write(self, lines: Sequence[Mapping[str, Any]]) -> None:
        if lines:
            self._file.write(b"".join(_encode(line) for line in lines))
            self._file.flush()
            os.fsync(self._file.fileno())


@contextmanager
def open_journal(path: Path, options: Mapping[str, str], *, is_fresh: bool = False) -> Iterator[Journal]:
    """Open the journal of a batch, or begin one; where `is_fresh`, forget what it held. Raises JournalRefused."""
    with path.open("a+b") as file:
        _lock(file, path)
        if is_fresh:
            file.truncate(0)
        lines = _read_lines(file)
        if not lines:
            file.write(_encode({"kind": "batch", "version": VERSION, "options": dict(options)}))
        elif (lines[0].get("version"), lines[0].get("options")) != (VERSION, dict(options)):
            raise JournalRefused(
                f"{path} is the journal of a batch with other options ({lines[0].get('options')}). "
                "Give them again, name another --output, or begin anew with --fresh."
            )
        yield Journal(file, _replay(lines[1:]))


def _lock(file: IO[bytes], path: Path) -> None:
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise JournalRefused(f"Another batch is writing {path}.") from error


def _read_lines(file: IO[bytes]) -> list[dict[str, Any]]:
    """Return the whole lines; one that a death cut short is cut off, so that the next one begins a line."""
    file.seek(0)
    content = file.read()
    whole = content[: content.rfind(b"\n") + 1]
    file.truncate(len(whole))
    return [json.loads(line) for line in whole.splitlines()]


def _replay(lines: Sequence[Mapping[str, Any]]) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for line in lines:
        name = line["name"]
        match line["kind"]:
            case "planned":
                entries[name] = Entry(line["key"], line["size_bytes"], line["modified_ns"])
            case "submitted":
                entries[name] = replace(entries[name], job_id=line["job_id"])
            case "ended":
                entries[name] = replace(entries[name], outcome=Outcome(**line["outcome"]))
    return entries


def _encode(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line).encode() + b"\n"
