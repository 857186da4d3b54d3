"""What a look at a link found: whether it holds, in words, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from shared.json_values import JsonObject


class Verdict(StrEnum):
    """How a link is."""

    OK = "ok"
    WARNING = "warning"
    """Studies go through, but something should be looked at."""
    BROKEN = "broken"
    """Studies do not go through, or not for long."""
    UNKNOWN = "unknown"
    """It could not be looked at, because of another link."""


_WORST_FIRST = (Verdict.BROKEN, Verdict.UNKNOWN, Verdict.WARNING, Verdict.OK)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `advice` is what to do next; empty where nothing is to be done."""

    check: str
    verdict: Verdict
    told: str
    advice: str = ""
    facts: JsonObject = field(default_factory=dict)


@dataclass(frozen=True)
class Link:
    """One link with everything that was found about it, and how long that took."""

    name: str
    findings: Sequence[Finding]
    seconds: float = 0.0

    @property
    def verdict(self) -> Verdict:
        """The worst of its findings."""
        found = {finding.verdict for finding in self.findings}
        return next((verdict for verdict in _WORST_FIRST if verdict in found), Verdict.UNKNOWN)


def fine(check: str, told: str, **facts: object) -> Finding:
    """Return a finding that asks for nothing."""
    return Finding(check, Verdict.OK, told, facts=_to_json(facts))


def odd(check: str, told: str, advice: str, **facts: object) -> Finding:
    """Return a finding that should be looked at."""
    return Finding(check, Verdict.WARNING, told, advice, _to_json(facts))


def broken(check: str, told: str, advice: str, **facts: object) -> Finding:
    """Return a finding that stops studies."""
    return Finding(check, Verdict.BROKEN, told, advice, _to_json(facts))


def unknown(check: str, told: str, advice: str = "") -> Finding:
    """Return that something could not be looked at."""
    return Finding(check, Verdict.UNKNOWN, told, advice)


def _to_json(facts: dict[str, object]) -> JsonObject:
    return {
        name: value if isinstance(value, bool | int | float | None) else str(value) for name, value in facts.items()
    }
