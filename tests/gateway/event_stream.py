"""Server-Sent Events as a client reads them."""

from __future__ import annotations

import json
from typing import Any

import httpx


class Stream:
    """A stream that is being read: its events, and how many comments came between them."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.iter_lines()
        self.comments = 0

    def read(self) -> dict[str, Any] | None:
        """Return the next event, or None at the end."""
        found: dict[str, Any] = {}
        for line in self._lines:
            if line.startswith(":"):
                self.comments += 1
            elif line:
                name, _, value = line.partition(": ")
                found[name] = json.loads(value) if name == "data" else value
            elif found:
                return found
        return None

    def read_all(self) -> list[dict[str, Any]]:
        return list(iter(self.read, None))

    def wait_for_comment(self) -> None:
        for line in self._lines:
            if line.startswith(":"):
                return


def name_events(events: list[dict[str, Any]]) -> list[tuple[str, str | None, str | None]]:
    return [(event["event"], event["data"]["stage"], event["data"]["state"]) for event in events]
