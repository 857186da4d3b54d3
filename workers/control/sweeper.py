"""Comparison of objects, rows and messages: what one side has and the others do not.

A writer stores the object first and the row after, so a crash between leaves an object that no row names. Such
orphans are removed once they are older than any upload or stage can take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from celery import Celery
from sqlalchemy import Engine, func, literal, select
from sqlalchemy.orm import Session

from shared.database import SWEEP_LOCK, holding_lock, transaction
from shared.stages import STAGES
from shared.states import StageState
from shared.storage import ObjectStore
from shared.tables import Artefact, Job, Outbox, StageRun
from shared.telemetry import get_logger
from shared.upload_tables import Upload, UploadPart
from workers.runtime.celery_app import count_messages

_log = get_logger()

_CLOCKS_APART = timedelta(hours=2)
ORPHAN_AGE = max(stage.time_limit for stage in STAGES.values()) + _CLOCKS_APART
"""A row follows its object within the time of a stage. The clock of the storage is not ours, and either may jump."""

_LOOKED_UP_AT_ONCE = 1000


@dataclass(frozen=True)
class Reconciliation:
    """Orphans by kind. All empty when the platform is idle and sound."""

    objects: Sequence[str]
    rows: Sequence[str]
    messages: int

    @property
    def is_clean(self) -> bool:
        """Whether nothing is left over."""
        return not self.objects and not self.rows and self.messages == 0


def reconcile(engine: Engine, store: ObjectStore, app: Celery) -> Reconciliation:
    """Compare object storage, database and broker as they are now."""
    written = {key for key, _ in store.iterate_keys()}
    with transaction(engine) as session:
        named = fetch_named_keys(session)
        unsent = session.scalar(select(func.count()).select_from(Outbox)) or 0
        open_stages = _count_open_stages(session)
        rows = _find_orphan_rows(session)
    queued = sum(count_messages(app, stage) for stage in STAGES)
    return Reconciliation(
        objects=sorted(written - named.keys()),
        rows=sorted([*(f"{table}/{key}" for key, table in named.items() if key not in written), *rows]),
        messages=max(0, queued + unsent - open_stages),
    )


def fetch_named_keys(session: Session) -> dict[str, str]:
    """Return the key of every object that a row names, with the table of that row."""
    queries = (select(Artefact.key, literal("artefacts")), select(UploadPart.key, literal("upload_parts")))
    whole = select(Upload.key, literal("uploads")).where(Upload.key.is_not(None))
    return {key: table for query in (*queries, whole) for key, table in session.execute(query) if key}


def _find_orphan_rows(session: Session) -> list[str]:
    """Return the open stages of ended jobs, which nothing would ever move."""
    runs = session.execute(
        select(StageRun.job_id, StageRun.stage)
        .join(Job)
        .where(Job.finished_at.is_not(None))
        .where(StageRun.state.in_((StageState.WAITING, StageState.READY, StageState.LEASED)))
    ).all()
    return [f"stage_runs/{job_id}/{stage}" for job_id, stage in runs]


def _count_open_stages(session: Session) -> int:
    query = select(func.count()).select_from(StageRun)
    return session.scalar(query.where(StageRun.state.in_((StageState.READY, StageState.LEASED)))) or 0


def sweep(engine: Engine, store: ObjectStore) -> int:
    """Remove objects that no row has named for longer than any work takes; return how many.

    Nothing while a backup is put back: its rows come last, after hours.
    """
    with holding_lock(engine, SWEEP_LOCK) as is_held:
        return _remove_orphans(engine, store) if is_held else 0


def _remove_orphans(engine: Engine, store: ObjectStore) -> int:
    """Look old objects up some at a time: the names of millions would not fit into memory."""
    latest = datetime.now(UTC) - ORPHAN_AGE
    old = (key for key, written_at in store.iterate_keys() if written_at < latest)
    removed = 0
    while keys := list(islice(old, _LOOKED_UP_AT_ONCE)):
        with transaction(engine) as session:
            orphans = set(keys) - _fetch_named_among(session, keys)
        for key in orphans:
            store.remove(key)
        removed += len(orphans)
    if removed:
        _log.warning("orphan objects removed", objects=removed)
    return removed


def _fetch_named_among(session: Session, keys: Sequence[str]) -> set[str | None]:
    columns = (Artefact.key, UploadPart.key, Upload.key)
    return {key for column in columns for key in session.scalars(select(column).where(column.in_(keys)))}
