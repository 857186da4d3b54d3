"""`ctclip acceptance`: does an installation give the right answer to every input, the bad ones first of all?"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.table import Table

from client.acceptance.manifest import read_manifest
from client.acceptance.running import Verdict, count_verdicts, iterate_documents, run_corpus
from client.acceptance.sending import Platform
from client.connecting import OF_THE_KEY, ApiKey, Json, Url, choose_access
from client.errors import ApiError, ClientError
from client.exchange import describe_silence
from client.plugins import KnownCommand, add_plugins
from client.words import ADVICE

GROUP = "ctclip.acceptance"
FAILED = 1
"""Exit status when an answer was not the right one."""

_ANOTHER_KEY = "Give an API key that may ask this: --api-key KEY, or CTCLIP_API_KEY in the environment."

_CORPUS: Mapping[str, KnownCommand] = {
    "corpus": KnownCommand("Write bad inputs, each with the answer it must get, and good ones in every form.", "corpus")
}

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    help="Hold an installation against the corpus: write its inputs, send them, compare the answers.",
)


@app.command()
def run(
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, metavar="DIR", help="Folder that `corpus` has written.")
    ],
    *,
    api_url: Url = None,
    api_key: ApiKey = None,
    at_once: Annotated[int, typer.Option(min=1, max=64, help="Cases that are sent at the same time.")] = 8,
    limit_s: Annotated[float, typer.Option(min=1, help="Longest time of one job.")] = 900.0,
    as_json: Json = False,
) -> None:
    """Send every input of a corpus to a running platform and compare its answers; exit status 1 on a difference.

    Each job only validates its study, so no model runs. The jobs stay in the platform like any others.
    """
    url, key = choose_access(api_url, api_key)
    platform = Platform(url, run_id=uuid.uuid4().hex, limit_s=limit_s, api_key=key)
    try:
        verdicts = run_corpus(read_manifest(folder), platform, at_once=at_once)
    except (ClientError, httpx.HTTPError) as error:
        typer.echo(_explain(error, url), err=True)
        raise typer.Exit(2) from error
    finally:
        platform.close()
    counts = count_verdicts(verdicts)
    if as_json:
        typer.echo(json.dumps({**counts, "cases": list(iterate_documents(verdicts))}, ensure_ascii=False))
    else:
        print_verdicts(Console(), verdicts, counts)
    if counts["failed"]:
        raise typer.Exit(FAILED)


def print_verdicts(console: Console, verdicts: list[Verdict], counts: Mapping[str, int]) -> None:
    """Print a table of all cases, then what was wrong."""
    table = Table("Case", "Input", "Expected", "Got", "")
    for verdict in verdicts:
        table.add_row(verdict.id, verdict.title, verdict.expected, verdict.got, _mark(verdict))
    console.print(table)
    for verdict in verdicts:
        for difference in verdict.differences:
            console.print(f"{verdict.id}: {difference}", markup=False, highlight=False)
    for reason in sorted({verdict.skipped for verdict in verdicts if verdict.skipped}):
        console.print(f"Skipped: {reason}", markup=False, highlight=False)
    console.print(", ".join(f"{count} {what}" for what, count in counts.items()), highlight=False)


def _explain(error: Exception, url: str) -> str:
    """Return why no case was sent, and what to do."""
    if isinstance(error, httpx.TransportError):
        return describe_silence(url, error)
    if isinstance(error, ApiError) and error.status in OF_THE_KEY:
        return f"{error}\n{ADVICE.get(error.code, _ANOTHER_KEY)}"
    return str(error) or type(error).__name__


def _mark(verdict: Verdict) -> str:
    if verdict.skipped is not None:
        return "[yellow]skipped[/]"
    return "[green]passed[/]" if verdict.has_passed else "[red]FAILED[/]"


add_plugins(app, group=GROUP, known=_CORPUS, prefix="ctclip acceptance")
