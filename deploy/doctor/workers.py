"""Who works: a worker for every stage that is planned, and the processes that keep work moving."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from amqp.exceptions import AMQPError
from celery import Celery
from kombu.exceptions import KombuError
from redis.exceptions import RedisError
from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session

from deploy.doctor.finding import Finding, broken, fine, odd, unknown
from shared.database import transaction
from shared.pauses import fetch_paused
from shared.stages import STAGES, WEIGHTED_STAGES, StageName
from shared.states import StageState
from shared.tables import DeadLetter, ModelVersion, Outbox, StageRun

_ANSWER_WITHIN_S = 3.0
_LATE_OUTBOX_S, _LATE_LEASE_S = 60.0, 60.0
_PROCESSES: Mapping[str, tuple[str, str]] = {
    "ctclip-control": ("control", "Without it nothing is sent to workers: start python -m workers.control."),
    "ctclip-gateway": ("gateway", "Without it nobody can submit or read: start python -m gateway."),
    "ctclip-worker-delivery": ("delivery", "Without it no webhook is sent: start python -m workers.delivery."),
}
_START_ONE = (
    "One that was just started is not ready before its models are loaded: look again in a minute. Else read its log, "
    "or start one: python -m workers --name worker --stages {stages}"
)
_HIDDEN = "<insufficient privilege>"
_SESSIONS = text(
    "SELECT application_name, query FROM pg_stat_activity"
    " WHERE datname = current_database() AND backend_type = 'client backend'"
)


def look_at_workers(engine: Engine, app: Celery) -> Iterator[Finding]:
    """Yield who works. Raises TransientFault when the database is away."""
    yield from _look_at_stages(engine, app)
    with transaction(engine) as session:
        yield from _look_at_processes(session)
        yield _look_at_outbox(session)
        yield _look_at_leases(session)
        yield _look_at_dead_letters(session)
        yield _look_at_pauses(session)


def list_served(app: Celery) -> Mapping[StageName, Sequence[str]]:
    """Return the names of the workers that answer now, by the stage they listen for."""
    answers: Mapping[str, Sequence[Mapping[str, Any]]] = (
        app.control.inspect(timeout=_ANSWER_WITHIN_S).active_queues() or {}
    )
    heard = {worker: {queue["name"] for queue in queues} for worker, queues in answers.items()}
    return {
        stage.name: sorted(worker for worker, queues in heard.items() if stage.queue in queues)
        for stage in STAGES.values()
    }


def _look_at_stages(engine: Engine, app: Celery) -> Iterator[Finding]:
    with transaction(engine) as session:
        planned = _fetch_planned(session)
    try:
        served = list_served(app)
    except (KombuError, AMQPError, RedisError, OSError):
        yield unknown("stages", "Workers were not asked: the broker cannot be used.", "Mend the broker first.")
        return
    missing = [stage for stage in planned if not served[stage]]
    if missing:
        named = ",".join(missing)
        told = f"No worker answers for {', '.join(missing)}."
        yield broken("stages", told, _START_ONE.format(stages=named))
    else:
        workers = {worker for names in served.values() for worker in names}
        yield fine("stages", f"{len(workers)} workers answer; every planned stage has one.", workers=len(workers))


def _fetch_planned(session: Session) -> Sequence[StageName]:
    """Return the stages that new jobs have, those of models as far as they are installed."""
    installed: Collection[StageName] = session.scalars(select(ModelVersion.stage).where(ModelVersion.is_active)).all()
    return [
        stage
        for stage in STAGES
        if stage is not StageName.DELIVERY and (stage not in WEIGHTED_STAGES or stage in installed)
    ]


def _look_at_processes(session: Session) -> Iterator[Finding]:
    sessions = session.execute(_SESSIONS).all()
    names = {row.application_name for row in sessions}
    sees_all = all(row.query != _HIDDEN for row in sessions)
    for name, (process, advice) in _PROCESSES.items():
        if name in names:
            yield fine(process, f"A {process} process is connected to the database.")
        elif sees_all:
            yield broken(process, f"No {process} process is connected to the database.", advice)
        else:
            yield unknown(process, f"This user may not see whether a {process} process is connected.", _ALLOW)


_ALLOW = "GRANT pg_read_all_stats to the user of CTCLIP_DATABASE_URL, or run the command as the owner."


def _look_at_outbox(session: Session) -> Finding:
    age = func.extract("epoch", func.now() - func.min(Outbox.created_at))
    count, oldest_s = session.execute(select(func.count(), func.coalesce(age, 0)).select_from(Outbox)).one()
    told = f"{count} messages wait for the relay, the oldest for {float(oldest_s):.0f} s."
    if float(oldest_s) > _LATE_OUTBOX_S:
        advice = "Fine while the broker holds CTCLIP_BROKER_WINDOW messages; else look at control and at the broker."
        return odd("outbox", told, advice, messages=count)
    return fine("outbox", told, messages=count)


def _look_at_leases(session: Session) -> Finding:
    overdue = StageRun.lease_expires_at < func.now() - func.make_interval(0, 0, 0, 0, 0, 0, _LATE_LEASE_S)
    query = select(func.count()).select_from(StageRun).where(StageRun.state == StageState.LEASED, overdue)
    count = session.scalar(query) or 0
    if count:
        told = f"{count} stages lost their worker more than {_LATE_LEASE_S:.0f} s ago and were not taken back."
        return broken("leases", told, "The reaper stands still: look at the log of control.", overdue=count)
    return fine("leases", "No lease is overdue.")


def _look_at_dead_letters(session: Session) -> Finding:
    count = session.scalar(select(func.count()).select_from(DeadLetter)) or 0
    if count:
        return odd("dead letters", f"{count} stages ended by a defect.", "ctclip dead-letters list", count=count)
    return fine("dead letters", "There are none.")


def _look_at_pauses(session: Session) -> Finding:
    paused = sorted(fetch_paused(session))
    if paused:
        told = f"Paused: {', '.join(paused)}. Results are made without and say so."
        return odd("paused", told, f"ctclip models resume {paused[0]}")
    return fine("paused", "No model is paused.")
