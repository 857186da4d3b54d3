"""Runs a replay and waits for it: the platform's own workers do the work."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from shared.artefacts import ArtefactKind
from shared.database import transaction
from shared.settings import Settings
from shared.storage import ObjectStore, StoredObject
from shared.tables import Artefact, Job
from workers.manifest import compute_features_digest
from workers.replay.comparing import Comparison, Manifest, compare
from workers.replay.starting import NothingLeft, Replay, start_replay

_LOOK_EVERY_S = 0.5


class CannotReplay(Exception):
    """There is nothing to compare. The text says why."""


@dataclass(frozen=True)
class Replayed:
    """A replay that has ended, and how its numbers compare with those recorded."""

    replay: Replay
    comparison: Comparison


def run_replay(engine: Engine, store: ObjectStore, settings: Settings, job_id: uuid.UUID, limit_s: float) -> Replayed:
    """Run a job again and compare. Raises CannotReplay, and TransientFault when a server is away."""
    with transaction(engine) as session:
        recorded = _fetch_manifest(session, store, job_id)
        _require_sound(recorded)
        replay = _start(session, settings, job_id)
    _wait_for_end(engine, replay.job_id, limit_s)
    with transaction(engine) as session:
        replayed = _fetch_manifest(session, store, replay.job_id)
    return Replayed(replay, compare(recorded, replayed))


def _start(session: Session, settings: Settings, job_id: uuid.UUID) -> Replay:
    try:
        return start_replay(session, settings, session.get_one(Job, job_id))
    except NothingLeft as error:
        raise CannotReplay(f"job {job_id} cannot be run again: {error}") from error


def _fetch_manifest(session: Session, store: ObjectStore, job_id: uuid.UUID) -> Manifest:
    job = session.get(Job, job_id)
    if job is None:
        raise CannotReplay(f"there is no job {job_id}")
    query = select(Artefact).where(Artefact.job_id == job_id, Artefact.kind == ArtefactKind.RUN_MANIFEST)
    row = session.scalar(query)
    if row is None:
        why = "" if job.problem is None else f" with the problem {job.problem['code']}"
        raise CannotReplay(f"job {job_id} has no run manifest; it is {job.state}{why}")
    content = BytesIO()
    store.fetch(StoredObject(row.key, row.size_bytes, row.sha256), content)
    manifest: dict[str, Any] = json.loads(content.getvalue())
    return manifest


def _require_sound(manifest: Manifest) -> None:
    if compute_features_digest(manifest["features"]["values"]) != manifest["features"]["sha256"]:
        raise CannotReplay("the features of the manifest are not those that its digest stands for")


def _wait_for_end(engine: Engine, job_id: uuid.UUID, limit_s: float) -> None:
    give_up_at = time.monotonic() + limit_s
    while not _has_ended(engine, job_id):
        if time.monotonic() > give_up_at:
            raise CannotReplay(f"job {job_id} did not end within {limit_s:g} s; it goes on")
        time.sleep(_LOOK_EVERY_S)


def _has_ended(engine: Engine, job_id: uuid.UUID) -> bool:
    with transaction(engine) as session:
        return session.scalar(select(Job.finished_at).where(Job.id == job_id)) is not None
