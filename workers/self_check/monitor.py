"""The monitors of control: the daily self-check, and the drift of features. Neither stops the platform."""

from __future__ import annotations

import math
import tempfile
import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from shared.database import transaction
from shared.errors import Defect, TransientFault
from shared.metrics import FEATURE_DRIFT, SELF_CHECK_AT, SELF_CHECK_PASSED
from shared.self_check import SELF_CHECK_TENANT, SelfCheckState, fetch_self_check
from shared.settings import Settings
from shared.storage import ObjectStore
from shared.tables import Job
from shared.telemetry import get_logger
from workers.drift.measuring import find_worst
from workers.drift.recent import measure_recent
from workers.self_check.judging import judge_run
from workers.self_check.phantom import write_phantom
from workers.self_check.repository import (
    find_expected,
    is_due,
    list_expected_stages,
    list_unjudged,
    read_run,
    record_outcome,
    submit,
)

_log = get_logger()
_LOOK_EVERY_S = 30.0
_DRIFT_EVERY_LOOKS = 120
_PREFIX = "uploads"
DRIFT_PERIOD = timedelta(days=30)
_PASSED = {SelfCheckState.PASSED: 1.0, SelfCheckState.FAILED: 0.0, SelfCheckState.NOT_RUN: math.nan}


class SelfCheck:
    """Submits, judges and counts. Any number may run: a lock and the tables keep them from doing anything twice."""

    def __init__(
        self,
        engine: Engine,
        store: ObjectStore,
        settings: Settings,
        write_study: Callable[[Path], None] = write_phantom,
    ) -> None:
        self._write_study = write_study
        self._engine = engine
        self._store = store
        self._settings = settings

    def run(self, stopped: threading.Event) -> None:
        """Look until told to stop. Faults are waited out; a defect, or a full disk, is told and goes no further."""
        looks = 0
        while not stopped.wait(_LOOK_EVERY_S):
            try:
                self.look()
                if looks % _DRIFT_EVERY_LOOKS == 0:
                    self.measure_drift()
            except TransientFault as fault:
                _log.warning("self-check waits", reason=str(fault))
            except (Defect, OSError) as defect:
                SELF_CHECK_PASSED.set(0)
                _log.error("self-check cannot run", reason=str(defect))
            looks += 1

    def look(self) -> None:
        """Submit a self-check that is due, judge those that ended, and set the metrics."""
        interval = self._settings.self_check_interval
        if interval and self._is_due(interval):
            self.submit(interval)
        self.judge_ended()
        with transaction(self._engine) as session:
            outcome = fetch_self_check(session)
        SELF_CHECK_PASSED.set(_PASSED[outcome.state])
        if outcome.at is not None:
            SELF_CHECK_AT.set(outcome.at.timestamp())

    def judge_ended(self) -> None:
        """Judge the self-checks that ended and were not judged yet."""
        with transaction(self._engine) as session:
            for job in list_unjudged(session):
                _judge(session, job)

    def submit(self, interval: timedelta | None = None) -> uuid.UUID | None:
        """Store the phantom and make its job; None where another control did, or no policy is active yet."""
        with tempfile.TemporaryDirectory(prefix="ctclip-") as scratch:
            study = Path(scratch) / "study.zip"
            self._write_study(study)
            stored = self._store.write_file(study, prefix=_PREFIX)
        with transaction(self._engine) as session:
            job_id = submit(session, self._settings, stored, interval=interval)
        if job_id is None:
            self._store.remove(stored.key)
        else:
            _log.info("self-check submitted", job_id=str(job_id))
        return job_id

    def measure_drift(self) -> None:
        """Set the drift of the feature that moved most, by model and part of the studies."""
        drifts = measure_recent(self._engine, self._settings, DRIFT_PERIOD, left_out=[SELF_CHECK_TENANT])
        FEATURE_DRIFT.clear()
        for (model, part), drift in find_worst(drifts or ()).items():
            FEATURE_DRIFT.labels(model=model, part=part).set(drift.psi - drift.by_chance)

    def _is_due(self, interval: timedelta) -> bool:
        with transaction(self._engine) as session:
            return is_due(session, interval)


def _judge(session: Session, job: Job) -> None:
    """Write the event of one ended self-check."""
    run = read_run(session, job.id)
    if run is None:
        code = "unknown" if job.problem is None else str(job.problem["code"])
        _tell(session, job.id, SelfCheckState.FAILED, {"failures": [f"no_result: {code}"]})
        return
    verdict = judge_run(run, list_expected_stages(session, job.id), find_expected(session, job, run))
    state = SelfCheckState.PASSED if verdict.is_passed else SelfCheckState.FAILED
    facts = {
        "failures": list(verdict.failures),
        "is_first": verdict.is_first,
        "largest_difference": verdict.largest_difference,
    }
    _tell(session, job.id, state, facts)


def _tell(session: Session, job_id: uuid.UUID, state: SelfCheckState, facts: dict[str, object]) -> None:
    record_outcome(session, job_id, state, facts)
    log = _log.info if state is SelfCheckState.PASSED else _log.error
    log("self-check judged", job_id=str(job_id), state=state, failures=facts["failures"])
