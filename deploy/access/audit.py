"""`ctclip audit`: show the log of what was done, and prove that nobody changed it."""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import Annotated

import typer

from deploy.access.joined import Json, State, joined
from shared.access_tables import AuditEntry
from shared.audit import ChainReport, Head, fetch_head, holds_head, iterate_entries, verify_chain

BROKEN = 1
"""Exit status when the log was changed."""

app = typer.Typer(no_args_is_help=True, help="Show the log of what was done; prove that nobody changed it.")


@app.command()
def verify(
    expected: Annotated[
        str | None,
        typer.Option("--expect", metavar="NUMBER:SHA256", help="Head that was noted earlier: it must still be there."),
    ] = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Compute the digest of every entry again. Exit status 1 when an entry was changed, removed or inserted.

    A log cut short at its end stays whole: note the head that this prints, elsewhere, and name it the next time.
    """
    noted = None if expected is None else _parse_head(expected)
    with joined(state) as session:
        report = verify_chain(session)
        is_there = noted is None or holds_head(session, noted)
    typer.echo(_write_json(report, is_there) if as_json else _write_text(report, is_there))
    raise typer.Exit(0 if report.broken_at is None and is_there else BROKEN)


@app.command(name="list")
def list_entries(
    after: Annotated[
        int | None, typer.Option(min=0, help="Begin behind the entry of this number, not with the newest that fit.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most entries.")] = 1000,
    state: State = None,
) -> None:
    """Print the newest entries in their order, one JSON object a line; with --after, those behind one."""
    with joined(state) as session:
        if after is None:  # numbers have no gaps
            after = max(0, fetch_head(session).sequence - limit)
        for entry in islice(iterate_entries(session, after=after), limit):
            typer.echo(json.dumps(_describe(entry), ensure_ascii=False))


def _parse_head(text: str) -> Head:
    number, _, sha256 = text.partition(":")
    if not number.isdecimal() or not re.fullmatch("[0-9a-f]{64}", sha256):
        raise typer.BadParameter("expected NUMBER:SHA256, as this command prints it", param_hint="--expect")
    return Head(int(number), sha256)


def _write_json(report: ChainReport, is_there: bool) -> str:
    head = {"sequence": report.head.sequence, "sha256": report.head.sha256}
    return json.dumps({"head": head, "broken_at": report.broken_at, "has_expected": is_there})


def _write_text(report: ChainReport, is_there: bool) -> str:
    if report.broken_at is not None:
        return f"The log was changed: entry {report.broken_at} does not fit what stands before it."
    if not is_there:
        return "The log was cut short: the expected head is not in it."
    return f"{report.head.sequence} entries, all unchanged. Head: {report.head.sequence}:{report.head.sha256}"


def _describe(entry: AuditEntry) -> dict[str, object]:
    return {
        "sequence": entry.sequence,
        "at": entry.at.isoformat(),
        "tenant": entry.tenant,
        "actor": entry.actor,
        "action": entry.action,
        "target": entry.target,
        "status": entry.status,
        "trace_id": entry.trace_id,
        "sha256": entry.sha256,
    }
