"""`ctclip dead-letters`: stages that a defect or a lost worker ended, with their evidence; run again or put away."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, NoReturn

import typer
from sqlalchemy import Row, delete, select
from sqlalchemy.orm import Session

from deploy.access.joined import Json, State, joined
from deploy.operations.deeds import tell
from gateway.jobs.errors import JobCannotBeRetried, JobNotFound
from gateway.jobs.retrying import retry_job
from gateway.tenants import Tenant
from shared.settings import get_settings
from shared.stages import StageName
from shared.states import JobState
from shared.tables import DeadLetter, Job
from workers.replay.starting import NothingLeft, start_replay

NOT_DONE = 1
"""Exit status when a letter that was named is not there, or its job cannot run again."""

app = typer.Typer(no_args_is_help=True, help="Stages that a defect ended: list, look at, run again, put away.")

Ids = Annotated[list[int] | None, typer.Argument(metavar="ID...", help="Numbers of the letters.")]
All = Annotated[bool, typer.Option("--all", help="All that there are; with --stage, all of that stage.")]
OfStage = Annotated[StageName | None, typer.Option("--stage", help="Only letters of this stage.")]


@app.command(name="list")
def list_letters(
    *,
    stage: OfStage = None,
    tenant: Annotated[str | None, typer.Option(help="Only letters of this tenant's jobs.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most letters.")] = 100,
    state: State = None,
    as_json: Json = False,
) -> None:
    """List dead letters, newest first."""
    query = select(DeadLetter, Job.tenant, Job.state).join(Job).order_by(DeadLetter.id.desc()).limit(limit)
    if stage is not None:
        query = query.where(DeadLetter.stage == stage)
    if tenant is not None:
        query = query.where(Job.tenant == tenant)
    with joined(state) as session:
        rows = session.execute(query).all()
    if as_json:
        typer.echo(json.dumps({"items": [_describe(row) for row in rows]}))
        return
    for letter, owner, job_state in rows:
        told = f"{letter.created_at:%Y-%m-%d %H:%M}  {letter.stage:<12} {letter.cause:<12} try {letter.attempt}"
        typer.echo(f"{letter.id:>6}  {told}  job {letter.job_id} ({owner}, {job_state})")
    if not rows:
        typer.echo("There are no dead letters.")


@app.command()
def show(
    letter_id: Annotated[int, typer.Argument(metavar="ID", help="Number of the letter.")],
    state: State = None,
    as_json: Json = False,
) -> None:
    """Show one with its evidence; it never holds anything of a patient."""
    with joined(state) as session:
        found = session.execute(
            select(DeadLetter, Job.tenant, Job.state).join(Job).where(DeadLetter.id == letter_id)
        ).one_or_none()
    if found is None:
        _refuse_unknown([letter_id])
    described = _describe(found)
    if as_json:
        typer.echo(json.dumps(described))
        return
    for name, value in described.items():
        if name != "evidence":
            typer.echo(f"{name:<11} {value}")
    typer.echo(json.dumps(described["evidence"], indent=2, ensure_ascii=False))


@app.command()
def retry(
    ids: Ids = None,
    *,
    every: All = False,
    stage: OfStage = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Run jobs again, once each, and take their letters away. Each retry stands in the log of what was done.

    A failed job goes on under its own id. One that ended with a result keeps it for good: its study is read once more
    by a job of its own, whose id is printed.
    """
    by_job: dict[uuid.UUID, dict[str, object]] = {}
    outcomes: dict[int, dict[str, object]] = {}
    for letter_id, job_id in _choose(ids, every, stage, state).items():
        if job_id not in by_job:
            with joined(state) as session:
                by_job[job_id] = _retry(session, letter_id)
        outcomes[letter_id] = by_job[job_id]
    _tell_outcomes(outcomes, as_json)


@app.command()
def discard(
    ids: Ids = None,
    *,
    every: All = False,
    stage: OfStage = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Take letters away and leave their jobs as they are. Each stands in the log of what was done."""
    outcomes: dict[int, dict[str, object]] = {}
    for letter_id in _choose(ids, every, stage, state):
        with joined(state) as session:
            letter, job = _lock(session, letter_id)
            session.delete(letter)
            tell(session, "dead-letters discard", job.tenant, f"/v1/jobs/{job.id}")
            outcomes[letter_id] = {"job": str(job.id), "discarded": True}
    _tell_outcomes(outcomes, as_json)


def _choose(ids: Sequence[int] | None, every: bool, stage: StageName | None, state: State) -> Mapping[int, uuid.UUID]:
    """Return the letters that are meant, each with its job."""
    if bool(ids) == every:
        raise typer.BadParameter("name the letters, or --all, and not both", param_hint="ID")
    query = select(DeadLetter.id, DeadLetter.job_id).order_by(DeadLetter.id)
    if stage is not None:
        query = query.where(DeadLetter.stage == stage)
    with joined(state) as session:
        rows = session.execute(query if every else query.where(DeadLetter.id.in_(ids or ())))
        known = {row.id: row.job_id for row in rows}
    missing = sorted(set(ids or ()) - known.keys())
    if missing:
        _refuse_unknown(missing)
    return known


def _retry(session: Session, letter_id: int) -> dict[str, object]:
    _, job = _lock(session, letter_id)
    if not job.state.is_terminal:
        return {"job": str(job.id), "retried": False, "why": f"It is {job.state}; come back when it has ended."}
    if not (job.state is JobState.FAILED or job.state.has_result):
        return {"job": str(job.id), "retried": False, "why": f"It was {job.state}: discard the letter."}
    try:
        if job.state is JobState.FAILED:
            retry_job(session, get_settings(), Tenant(job.tenant), job.id)
            runs = job.id
        else:
            runs = start_replay(session, get_settings(), job).job_id
    except (JobCannotBeRetried, JobNotFound, NothingLeft) as error:
        return {"job": str(job.id), "retried": False, "why": str(error)}
    session.execute(delete(DeadLetter).where(DeadLetter.job_id == job.id))
    tell(session, "dead-letters retry", job.tenant, f"/v1/jobs/{runs}")
    return {"job": str(job.id), "retried": True, "runs_as": str(runs)}


def _lock(session: Session, letter_id: int) -> tuple[DeadLetter, Job]:
    """Hold a letter, so that two operators do not retry it twice."""
    letter = session.get(DeadLetter, letter_id, with_for_update=True)
    if letter is None:
        _refuse_unknown([letter_id])
    return letter, session.get_one(Job, letter.job_id)


def _describe(row: Row[DeadLetter, str, JobState]) -> dict[str, object]:
    letter, tenant, job_state = row
    return {
        "id": letter.id,
        "job": str(letter.job_id),
        "tenant": tenant,
        "job_state": str(job_state),
        "stage": str(letter.stage),
        "cause": letter.cause,
        "attempt": letter.attempt,
        "created_at": letter.created_at.isoformat(),
        "evidence": letter.evidence,
    }


def _tell_outcomes(outcomes: dict[int, dict[str, object]], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({str(number): told for number, told in outcomes.items()}))
    else:
        for number, told in outcomes.items():
            typer.echo(f"{number}: {_write(told)}")
    raise typer.Exit(NOT_DONE if any(told.get("retried") is False for told in outcomes.values()) else 0)


def _write(told: dict[str, object]) -> str:
    if told.get("discarded"):
        return f"taken away; job {told['job']} stays as it is"
    if not told["retried"]:
        return f"job {told['job']} cannot run again: {told['why']} The letter is kept."
    is_own = told["runs_as"] == told["job"]
    return (
        f"job {told['job']} goes on" if is_own else f"job {told['job']} keeps its result; {told['runs_as']} reads anew"
    )


def _refuse_unknown(ids: Sequence[int]) -> NoReturn:
    typer.echo(f"There is no dead letter {', '.join(map(str, ids))}; `ctclip dead-letters list` shows them.", err=True)
    raise typer.Exit(NOT_DONE)
