"""`Prefer: wait=N` (RFC 7240): a caller that would rather hold the line than poll. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

_TOKEN = re.compile(r"\s*wait\s*=\s*\"?(?P<seconds>[0-9]{1,9})\"?\s*(;.*)?", re.IGNORECASE)


def parse_wait(values: Iterable[str], limit_s: int) -> int | None:
    """Return how many seconds a caller would wait, at most `limit_s`; None when it did not ask.

    Preferences that are unknown or malformed are ignored, as the RFC has it; of several, the first counts.
    """
    for preference in ",".join(values).split(","):
        match = _TOKEN.fullmatch(preference)
        if match:
            return min(int(match["seconds"]), limit_s)
    return None
