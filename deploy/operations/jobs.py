"""`ctclip jobs`: which jobs there are, and everything about one of them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deploy.access.joined import Json, State, joined
from deploy.operations.ages import parse_age, write_age
from deploy.operations.job_rows import JobFilter, JobRow, JobView, count_jobs, fetch_jobs, fetch_view
from shared.stages import StageName
from shared.states import JobState, StageState
from shared.tables import StageRun

NO_SUCH_JOB = 1
"""Exit status when there is no job of the id."""

app = typer.Typer(no_args_is_help=True, help="List jobs of all tenants, and show everything about one.")

States = Annotated[
    list[JobState], typer.Option("--in", metavar="STATE", help="Only jobs in this state; may be given several times.")
]
Tenant = Annotated[str | None, typer.Option(help="Only jobs of this tenant.")]
AtStage = Annotated[
    StageName | None, typer.Option("--stage", help="Only jobs that wait for this stage, run it, or failed in it.")
]
Older = Annotated[
    str | None, typer.Option("--older-than", metavar="AGE", help="Submitted longer ago: 90s, 15m, 6h, 2d.")
]
Newer = Annotated[str | None, typer.Option("--newer-than", metavar="AGE", help="Submitted since: 90s, 15m, 6h, 2d.")]


@app.command(name="list")
def list_jobs(
    *,
    states: States = [],  # noqa: B006  # typer reads it and never changes it
    tenant: Tenant = None,
    stage: AtStage = None,
    older_than: Older = None,
    newer_than: Newer = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most jobs that are listed.")] = 50,
    state: State = None,
    as_json: Json = False,
) -> None:
    """List jobs, newest first, and say how many there are."""
    wanted = JobFilter(
        states=states,
        tenant=tenant,
        stage=stage,
        older_than=None if older_than is None else parse_age(older_than),
        newer_than=None if newer_than is None else parse_age(newer_than),
    )
    with joined(state) as session:
        count, rows = count_jobs(session, wanted), fetch_jobs(session, wanted, limit)
    if as_json:
        typer.echo(json.dumps({"count": count, "items": [_describe_row(row) for row in rows]}))
    else:
        _print_rows(rows, count)


@app.command()
def show(
    job_id: Annotated[uuid.UUID, typer.Argument(metavar="JOB", help="Id of the job.")],
    state: State = None,
    as_json: Json = False,
) -> None:
    """Show one job: its stages with their tries and workers, its last events, dead letters, webhooks and objects."""
    with joined(state) as session:
        view = fetch_view(session, job_id)
    if view is None:
        typer.echo("There is no job of this id; `ctclip jobs list` shows those that there are.", err=True)
        raise typer.Exit(NO_SUCH_JOB)
    if as_json:
        typer.echo(json.dumps(_describe_view(view)))
    else:
        _print_view(view)


def _describe_row(row: JobRow) -> dict[str, object]:
    return {
        "id": str(row.id),
        "tenant": row.tenant,
        "state": str(row.state),
        "priority": row.priority,
        "age_s": row.age.total_seconds(),
        "seconds": row.seconds,
        "stages": [str(stage) for stage in row.stages],
        "problem": row.problem,
    }


def _print_rows(rows: Sequence[JobRow], count: int) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("id", "tenant", "state", "age", "at", "problem"):
        table.add_column(column, no_wrap=column == "id")
    for row in rows:
        at = ", ".join(row.stages)
        table.add_row(str(row.id), escape(row.tenant), row.state, write_age(row.age), at, row.problem or "")
    console = Console(soft_wrap=True, highlight=False)
    if rows:
        console.print(table)
    console.print(f"{len(rows)} of {count} jobs.")


def _describe_view(view: JobView) -> dict[str, object]:
    job = view.job
    return {
        "id": str(job.id),
        "tenant": job.tenant,
        "state": str(job.state),
        "priority": job.priority,
        "labels": job.labels,
        "policy_id": job.policy_id,
        "problem": job.problem,
        "created_at": job.created_at.isoformat(),
        "deadline_at": job.deadline_at.isoformat(),
        "finished_at": _write_time(job.finished_at),
        "stages": [_describe_stage(run) for run in view.stages],
        "events": [
            {"id": e.id, "at": e.at.isoformat(), "type": e.type, "stage": e.stage, "state": e.state, "facts": e.facts}
            for e in view.events
        ],
        "dead_letters": [letter.id for letter in view.dead_letters],
        "webhooks": [
            {"id": str(d.id), "event": d.event_type, "state": str(d.state), "tries": d.attempt, "status": d.status_code}
            for d in view.deliveries
        ],
        "objects": view.objects,
        "bytes": view.bytes,
    }


def _describe_stage(run: StageRun) -> dict[str, object]:
    return {
        "name": str(run.stage),
        "state": str(run.state),
        "reason": run.reason,
        "attempt": run.attempt,
        "transient_faults": run.transient_faults,
        "defects": run.defects,
        "lost_workers": run.lost_workers,
        "worker": run.leased_by,
        "lease_expires_at": _write_time(run.lease_expires_at),
        "next_attempt_at": _write_time(run.next_attempt_at),
        "started_at": _write_time(run.started_at),
        "finished_at": _write_time(run.finished_at),
        "problem": run.problem,
    }


def _write_time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _print_view(view: JobView) -> None:
    console, job = Console(soft_wrap=True, highlight=False), view.job
    age = write_age(view.now - job.created_at)
    console.print(f"{job.id}  tenant {escape(job.tenant)}  [bold]{job.state}[/]  submitted {age} ago")
    if job.problem is not None:
        console.print(f"{job.problem.get('code')}: {escape(str(job.problem.get('detail', '')))}")
    console.print(_draw_stages(view.stages))
    for event in view.events:
        told = " ".join(filter(None, (event.type, event.stage, event.state)))
        console.print(f"[dim]{event.at:%H:%M:%S}[/]  {told}")
    for letter in view.dead_letters:
        console.print(f"Dead letter {letter.id}: ctclip dead-letters show {letter.id}")
    console.print(f"{view.objects} objects, {view.bytes / 1e6:.1f} MB; {_count_deliveries(view)}.")


def _count_deliveries(view: JobView) -> str:
    return ", ".join(_tell_deliveries(view)) or "no webhooks"


def _tell_deliveries(view: JobView) -> Iterable[str]:
    return (f"{delivery.event_type} {delivery.state}" for delivery in view.deliveries)


def _draw_stages(runs: Sequence[StageRun]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("stage", "state", "tries", "why", "worker"):
        table.add_column(column)
    for run in runs:
        worker = run.leased_by if run.state is StageState.LEASED else ""
        table.add_row(run.stage, run.state, str(run.attempt), run.reason or "", worker or "")
    return table
