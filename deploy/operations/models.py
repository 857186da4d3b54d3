"""`ctclip models`: what `workers.command.models` offers, and the pausing and resuming of a platform's models.

What needs the platform's database is loaded only when it is called: listing and verifying do without.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from shared.stages import WEIGHTED_STAGES, StageName
from workers.command.models import AsJson, app

__all__ = ["app"]

AS_IT_WAS = 1
"""Exit status when the model was paused already, or was not paused."""

Model = Annotated[str, typer.Argument(help=f"Which one: {', '.join(WEIGHTED_STAGES)}.")]
State = Annotated[
    Path | None, typer.Option("--state", metavar="DIR", help="State folder of a platform of this machine.")
]


@app.command()
def pause(
    model: Model,
    *,
    reason: Annotated[str, typer.Option(help="Why, for other operators; no result shows it.")] = "",
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """Run a model for no further study of a platform. Results are made without it and say so; what runs is finished.

    Pausing the segmentation pauses fVLM with it, which needs its masks.
    """
    stage = _parse(model)
    skipped = _load_pausing().pause(state, stage, reason)
    if skipped is None:
        typer.echo(f"{stage} is paused already; `ctclip models paused` shows since when.", err=True)
        raise typer.Exit(AS_IT_WAS)
    if as_json:
        typer.echo(json.dumps({"model": stage, "paused": True, "skipped": skipped}))
    else:
        typer.echo(f"{stage} is paused; {skipped} jobs that waited for it go on without. ctclip models resume {stage}")


@app.command()
def resume(model: Model, *, state: State = None, as_json: AsJson = False) -> None:
    """Let a paused model run again, for jobs that come from now on."""
    stage = _parse(model)
    if not _load_pausing().resume(state, stage):
        typer.echo(f"{stage} is not paused.", err=True)
        raise typer.Exit(AS_IT_WAS)
    typer.echo(json.dumps({"model": stage, "paused": False}) if as_json else f"{stage} runs again.")


@app.command()
def paused(state: State = None, as_json: AsJson = False) -> None:
    """List what is paused, since when, and why."""
    rows = _load_pausing().fetch_pauses(state)
    if as_json:
        items = [{"model": row.stage, "since": row.paused_at.isoformat(), "reason": row.reason} for row in rows]
        typer.echo(json.dumps({"items": items}))
        return
    for row in rows:
        typer.echo(f"{row.stage:<12} since {row.paused_at:%Y-%m-%d %H:%M}  {row.reason}")
    if not rows:
        typer.echo("No model is paused.")


def _parse(model: str) -> StageName:
    if model not in set(WEIGHTED_STAGES):
        raise typer.BadParameter(f"{model!r} cannot be paused; {', '.join(WEIGHTED_STAGES)} can", param_hint="MODEL")
    return StageName(model)


def _load_pausing() -> Any:  # noqa: ANN401  # a module
    return import_module("deploy.operations.pausing")
