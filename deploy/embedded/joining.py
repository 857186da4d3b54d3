"""Server-side commands that join the stack of this machine where no other is named by `CTCLIP_*` settings."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Annotated

import typer

from deploy.embedded.problems import StackProblem
from deploy.embedded.state_folder import default_state, read_environment
from workers.command import drift as platform_drift
from workers.command import reconcile as platform_reconcile
from workers.command import replay as platform_replay
from workers.command import self_check as platform_self_check

_State = Annotated[
    Path | None, typer.Option("--state", metavar="DIR", help="State folder of a platform of this machine.")
]
_AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def reconcile(
    state: Annotated[
        Path | None, typer.Option("--state", metavar="DIR", help="State folder of a platform of this machine.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Compare objects, rows and queues: orphans by kind, zero when idle; exit status 1 when there are any.

    The platform is that of the CTCLIP_* settings, or else the one that `ctclip up` runs here.
    """
    join_stack(state)
    platform_reconcile.command(as_json=as_json)


def replay(
    job_id: Annotated[uuid.UUID, typer.Argument(metavar="JOB", help="The job to run again.")],
    *,
    state: Annotated[
        Path | None, typer.Option("--state", metavar="DIR", help="State folder of a platform of this machine.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Largest difference of a number that counts as the same.")
    ] = platform_replay.DEFAULT_TOLERANCE,
    limit_s: Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait for the job.")] = 1800,
    shows_all: Annotated[bool, typer.Option("--all", help="Print every number, also those that agree.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Run a job again from its manifest, every model anew, and compare each feature with what was recorded.

    Exit status 0: all agree; 1: some differ; 2: it could not be run again.
    """
    join_stack(state)
    platform_replay.command(job_id, tolerance=tolerance, limit_s=limit_s, shows_all=shows_all, as_json=as_json)


def drift(
    *,
    days: Annotated[int, typer.Option(min=1, help="Jobs of how many days.")] = 30,
    state: _State = None,
    as_json: _AsJson = False,
) -> None:
    """Compare the features of recent studies with those of the fusion's training; no labels are needed.

    Exit status 0: none is shifted; 1: some are; 2: there is nothing to compare with.
    """
    join_stack(state)
    platform_drift.command(days=days, as_json=as_json)


def self_check(
    *,
    now: Annotated[bool, typer.Option("--now", help="Run one now and wait for it.")] = False,
    limit_s: Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait for the job.")] = 1800,
    state: _State = None,
    as_json: _AsJson = False,
) -> None:
    """Tell how the last self-check of the platform ended, or run one.

    Exit status 0: passed; 1: failed; 2: none has run, or it could not be told.
    """
    join_stack(state)
    platform_self_check.command(now=now, limit_s=limit_s, as_json=as_json)


def join_stack(state: Path | None) -> None:
    """Take over the settings of a running stack, unless the environment leads to a database already."""
    try:
        take_over_settings(state)
    except StackProblem as problem:
        typer.echo(str(problem), err=True)
        raise typer.Exit(2) from problem


def take_over_settings(state: Path | None) -> None:
    """Do the same. Raises StackProblem where nothing runs and the environment leads nowhere."""
    if state is None and (os.environ.get("CTCLIP_DATABASE_URL") or os.environ.get("CTCLIP_SECRETS_DIR")):
        return
    os.environ.update(read_environment(state or default_state()))
