"""Runs one stage of one job: claim, run, complete or fail. The same for all stages."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Engine

from shared.database import transaction
from shared.errors import CommitInDoubt, StaleLease
from shared.metrics import STAGE_SECONDS, STAGES_ENDED, STAGES_POSTPONED
from shared.settings import Settings
from shared.stages import StageName
from shared.states import StageState
from shared.storage import ObjectStore
from shared.telemetry import get_logger
from workers.reuse import EarlierAnswers
from workers.runtime.artefact_cache import ArtefactCache
from workers.runtime.completion import StoredArtefact, complete_from_earlier, complete_stage
from workers.runtime.context import RunContext, fetch_job_plan, fetch_volume_shape
from workers.runtime.heartbeat import Heartbeat
from workers.runtime.interruption import interruptible
from workers.runtime.lease import Lease, claim, postpone
from workers.runtime.measuring import count_steps
from workers.runtime.outcomes import end_after_error, end_rejected
from workers.runtime.scratch import take_scratch
from workers.runtime.stage import AdmittingStage, ProducedArtefact, Stage, StageOutput

_log = get_logger()


class StageRunner:
    """Runs the stages that this process offers."""

    def __init__(
        self,
        stages: Sequence[Stage],
        settings: Settings,
        *,
        engine: Engine,
        store: ObjectStore,
        heartbeat: Heartbeat,
        worker: str,
    ) -> None:
        self._stages = {stage.name: stage for stage in stages}
        self._settings = settings
        self._engine = engine
        self._store = store
        self._cache = ArtefactCache(settings.cache_dir / "artefacts", settings.cache_limit_bytes, store)
        self._scratch = take_scratch(settings.cache_dir / "scratch")
        self._heartbeat = heartbeat
        self._worker = worker
        self._earlier = EarlierAnswers(settings)

    def start_expiring(self) -> None:
        """Keep the local copies of artefacts no longer than the settings say."""
        self._cache.start_expiring(self._settings.cache_retention)

    def run(self, job_id: uuid.UUID, name: StageName) -> None:
        """Run a stage if it is ready, nobody has it and neither memory nor disk is too short.

        Safe to call any number of times. What an earlier job has answered meanwhile is not run.
        """
        with transaction(self._engine) as session:
            if complete_from_earlier(session, job_id, name, self._earlier):
                return
        if not self._cache.make_room(self._settings.scratch_reserve_bytes):
            self._postpone(job_id, name, short="disk")
            return
        with self._admit(job_id, name) as is_admitted:
            if is_admitted:
                self._claim_and_run(job_id, name)
                return
        self._postpone(job_id, name, short="memory")

    def _postpone(self, job_id: uuid.UUID, name: StageName, *, short: str) -> None:
        with transaction(self._engine) as session:
            is_postponed = postpone(session, job_id, name, self._settings.transient_retry_delay)
        if is_postponed:
            STAGES_POSTPONED.labels(stage=name, short=short).inc()
            _log.warning("stage postponed", short=short, job_id=str(job_id), stage=name)

    def _admit(self, job_id: uuid.UUID, name: StageName) -> AbstractContextManager[bool]:
        stage = self._stages.get(name)
        if not isinstance(stage, AdmittingStage):
            return nullcontext(enter_result=True)
        with transaction(self._engine) as session:
            shape_zyx = fetch_volume_shape(session, job_id)
        return nullcontext(enter_result=True) if shape_zyx is None else stage.admit(shape_zyx)

    def _claim_and_run(self, job_id: uuid.UUID, name: StageName) -> None:
        with transaction(self._engine) as session:
            lease = claim(session, job_id, name, worker=self._worker, duration=self._settings.lease_duration)
        if lease is None:
            return
        started = time.monotonic()
        try:
            self._run_leased(lease)
        except StaleLease as stale:
            _log.info("stage given up", job_id=str(job_id), stage=name, reason=str(stale))
        STAGE_SECONDS.labels(stage=name).observe(time.monotonic() - started)

    def _run_leased(self, lease: Lease) -> None:
        with self._heartbeat.keep(lease) as lost, TemporaryDirectory(dir=self._scratch) as scratch:
            try:
                context = self._make_context(lease, Path(scratch), lost)
                with interruptible(context.check):
                    output = self._stages[lease.stage].run(context)
                self._end(lease, output)
            except StaleLease:
                raise
            except Exception as error:  # noqa: BLE001  # process edge: every error ends or retries the stage
                end_after_error(self._engine, self._settings, lease, error)

    def _make_context(self, lease: Lease, scratch: Path, lost: threading.Event) -> RunContext:
        with transaction(self._engine) as session:
            plan = fetch_job_plan(session, lease.job_id)
        return RunContext(lease, plan, scratch, engine=self._engine, store=self._store, cache=self._cache, lost=lost)

    def _end(self, lease: Lease, output: StageOutput) -> None:
        if output.rejection is not None:
            end_rejected(self._engine, lease, output.rejection, output)
            return
        artefacts = [self._store_artefact(lease, produced) for produced in output.artefacts]
        try:
            with transaction(self._engine) as session:
                complete_stage(session, lease, output, artefacts, self._earlier)
        except BaseException as error:
            # A commit in doubt may stand, and its rows name the objects; if none does, the sweep finds them.
            if not isinstance(error, CommitInDoubt):
                self._discard(artefacts)
            raise
        STAGES_ENDED.labels(stage=lease.stage, state=StageState.SUCCEEDED, code="").inc()
        count_steps(lease.stage, output.facts)
        _log.info("stage succeeded", job_id=str(lease.job_id), stage=lease.stage, attempt=lease.attempt)

    def _store_artefact(self, lease: Lease, produced: ProducedArtefact) -> StoredArtefact:
        stored = self._store.write_file(produced.path, prefix=f"jobs/{lease.job_id}/{produced.kind}")
        self._cache.adopt(produced.path, stored.sha256)
        return StoredArtefact(produced, stored)

    def _discard(self, artefacts: Sequence[StoredArtefact]) -> None:
        """Remove objects that no row will name. What a crash leaves is found by the control loop's sweep."""
        for artefact in artefacts:
            self._store.remove(artefact.stored.key)
