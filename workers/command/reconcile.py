"""`ctclip reconcile`: compare objects, rows and messages, and name what has no counterpart."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from shared.database import make_engine
from shared.errors import TransientFault
from shared.settings import get_settings
from shared.storage import ObjectStore
from workers.control.sweeper import ORPHAN_AGE, Reconciliation, reconcile
from workers.runtime.celery_app import make_celery

_OF_OBJECTS = (
    f"A process that was killed leaves objects. Control removes, once an hour, those older than {ORPHAN_AGE} h."
)


def command(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Compare objects, rows and queues: orphans by kind, zero when idle. Reads the CTCLIP_* settings."""
    settings = get_settings()
    try:
        found = reconcile(make_engine(settings), ObjectStore(settings), make_celery(settings))
    except TransientFault as fault:
        advice = "Is the platform running, and are the CTCLIP_* settings its own?"
        typer.echo(f"Cannot compare: {fault}. {advice}", err=True)
        raise typer.Exit(2) from fault
    typer.echo(json.dumps(describe(found)) if as_json else render(found))
    raise typer.Exit(0 if found.is_clean else 1)


def describe(found: Reconciliation) -> dict[str, object]:
    """Return counts by kind, with the names behind them."""
    return {
        "objects": len(found.objects),
        "rows": len(found.rows),
        "messages": found.messages,
        "orphans": {"objects": list(found.objects), "rows": list(found.rows)},
    }


def render(found: Reconciliation) -> str:
    """Return the comparison for people."""
    lines = [
        f"objects that no row names:     {len(found.objects)}",
        f"rows that nothing stands for:  {len(found.rows)}",
        f"messages that no stage awaits: {found.messages}",
    ]
    named = (f"  {name}" for name in (*found.objects, *found.rows))
    return "\n".join([*lines, *named, *([_OF_OBJECTS] if found.objects else [])])
