"""`ctclip doctor`: name the broken link, and what to do next."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from deploy.access.joined import Json, State
from deploy.doctor.examination import examine
from deploy.doctor.finding import Finding, Link, Verdict, broken
from deploy.embedded.joining import take_over_settings
from deploy.embedded.problems import StackProblem
from shared.settings import get_settings

BROKEN = 1
"""Exit status when a link is broken."""

_STYLES = {
    Verdict.OK: ("green", "ok"),
    Verdict.WARNING: ("yellow", "look"),
    Verdict.BROKEN: ("red", "BROKEN"),
    Verdict.UNKNOWN: ("dim", "unknown"),
}


def doctor(state: State = None, as_json: Json = False) -> None:
    """Look at database, broker, storage, weights, GPU, scratch, clock, workers and webhooks; name what is broken.

    Exit status 0: studies go through; 1: a link is broken, and the text says which and what to do next.
    """
    links = _examine(state)
    is_broken = any(link.verdict is Verdict.BROKEN for link in links)
    if as_json:
        typer.echo(json.dumps(describe(links)))
    else:
        _print(links)
    raise typer.Exit(BROKEN if is_broken else 0)


def describe(links: Sequence[Link]) -> dict[str, object]:
    """Return the links as JSON values; `broken` names those that stop studies."""
    return {
        "verdict": next(
            (str(v) for v in (Verdict.BROKEN, Verdict.WARNING) if any(link.verdict is v for link in links)), "ok"
        ),
        "broken": [link.name for link in links if link.verdict is Verdict.BROKEN],
        "links": {
            link.name: {
                "verdict": str(link.verdict),
                "seconds": round(link.seconds, 3),
                "findings": [_describe(finding) for finding in link.findings],
            }
            for link in links
        },
    }


def _describe(finding: Finding) -> dict[str, object]:
    return {**asdict(finding), "verdict": str(finding.verdict)}


def _examine(state: State) -> Sequence[Link]:
    try:
        take_over_settings(state)
        settings = get_settings()
    except StackProblem as problem:
        advice = "Start the platform (ctclip up), or set the CTCLIP_* settings of the one that is meant."
        return [Link("settings", [broken("settings", str(problem), advice)])]
    except ValidationError as error:
        wrong = ", ".join(sorted({f"CTCLIP_{each['loc'][0]}".upper() for each in error.errors() if each["loc"]}))
        told = f"The settings cannot be used: {wrong or 'they contradict each other'}."
        return [Link("settings", [broken("settings", told, "docs/settings.md says what each may be.")])]
    return examine(settings)


def _print(links: Sequence[Link]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for link in links:
        for number, finding in enumerate(link.findings):
            style, word = _STYLES[finding.verdict]
            name = link.name if number == 0 else ""
            console.print(f"{name:<10}[{style}]{word:<8}[/] {escape(finding.told)}")
            if finding.advice:
                console.print(f"{'':<19}{escape(finding.advice)}")
    console.print(_conclude(links))


def _conclude(links: Sequence[Link]) -> str:
    names = [link.name for link in links if link.verdict is Verdict.BROKEN]
    if names:
        return f"Broken: {', '.join(names)}."
    return "Nothing is broken."
