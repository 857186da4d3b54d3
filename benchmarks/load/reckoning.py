"""The reckoning: what became of every job that was promised, by the rows themselves, and what is left over."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, func, select

from shared.database import make_engine, transaction
from shared.settings import Settings
from shared.stages import MODELS, StageName
from shared.storage import ObjectStore
from shared.tables import Job, Result, StageRun
from workers.control.sweeper import Reconciliation, reconcile
from workers.runtime.celery_app import make_celery

_LOOK_EVERY_S = 0.25
_AT_ONCE = 5_000
_SETTLED_WITHIN_S = 60.0
"""Messages that were sent again while their stages waited lie behind the last job, and are dropped one by one."""


@dataclass(frozen=True)
class Ended:
    """How a job ended, and when (seconds since the epoch)."""

    state: str
    finished_at: float


@dataclass(frozen=True)
class Reckoning:
    """Jobs that were promised and are not there, jobs without a result, results that are too many, and leftovers."""

    promised: int
    lost: int
    unended: int
    states: Mapping[str, int]
    results: int
    unpromised: int
    reconciliation: Reconciliation

    @property
    def is_exact(self) -> bool:
        """Whether every promise was kept once, and nothing is left over."""
        has_all = self.lost == self.unended == 0 and self.results == self.promised
        return has_all and self.reconciliation.is_clean


class Books:
    """The database and the storage of a platform, to count in."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.engine: Engine = make_engine(settings, application_name="ctclip-load")

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()

    def count_open(self) -> int:
        """Return how many jobs have not ended."""
        with transaction(self.engine) as session:
            return session.scalar(select(func.count()).select_from(Job).where(Job.finished_at.is_(None))) or 0

    def count_jobs(self) -> int:
        """Return how many jobs there are."""
        with transaction(self.engine) as session:
            return session.scalar(select(func.count()).select_from(Job)) or 0

    def wait_until_idle(self, limit_s: float) -> bool:
        """Wait until every job has ended; False after `limit_s`."""
        deadline = time.monotonic() + limit_s
        while self.count_open():
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_EVERY_S)
        return True

    def fetch_ended(self, job_ids: Collection[str]) -> dict[str, Ended | None]:
        """Return how each job ended that is there; None for one that has not."""
        found: dict[str, Ended | None] = {}
        for some in _batch(job_ids):
            with transaction(self.engine) as session:
                for job in session.scalars(select(Job).where(Job.id.in_(some))):
                    ended = None if job.finished_at is None else Ended(job.state, job.finished_at.timestamp())
                    found[str(job.id)] = ended
        return found

    def reckon(self, promised: Collection[str], *, jobs_before: int) -> Reckoning:
        """Compare what was promised with the rows, the objects and the messages that there are."""
        ended = self.fetch_ended(promised)
        return Reckoning(
            promised=len(promised),
            lost=len(set(promised) - ended.keys()),
            unended=sum(1 for each in ended.values() if each is None),
            states=Counter(each.state for each in ended.values() if each is not None),
            results=sum(self._count_results(some) for some in _batch(promised)),
            unpromised=self.count_jobs() - jobs_before - len(ended),
            reconciliation=self._reconcile_once_settled(),
        )

    def _reconcile_once_settled(self) -> Reconciliation:
        store, app = ObjectStore(self._settings), make_celery(self._settings)
        deadline = time.monotonic() + _SETTLED_WITHIN_S
        while (found := reconcile(self.engine, store, app)).messages and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY_S)
        return found

    def count_answers(self, job_ids: Collection[str]) -> dict[StageName, tuple[int, int, int]]:
        """Return of each model: different answers by all that they are made from, runs, and answers of earlier jobs."""
        rows: list[tuple[StageName, str | None, bool]] = []
        for some in _batch(job_ids):
            with transaction(self.engine) as session:
                query = select(StageRun.stage, StageRun.recipe_sha256, StageRun.reused_from.is_not(None))
                found = session.execute(query.where(StageRun.job_id.in_(some), StageRun.stage.in_(MODELS)))
                rows += [(stage, recipe, is_reused) for stage, recipe, is_reused in found]
        return {model: _count_answers(rows, model) for model in MODELS}

    def _count_results(self, job_ids: Sequence[uuid.UUID]) -> int:
        with transaction(self.engine) as session:
            return session.scalar(select(func.count()).where(Result.job_id.in_(job_ids))) or 0


def _count_answers(rows: Sequence[tuple[StageName, str | None, bool]], model: StageName) -> tuple[int, int, int]:
    own = [(recipe, is_reused) for stage, recipe, is_reused in rows if stage is model and recipe is not None]
    return len({recipe for recipe, _ in own}), sum(not reused for _, reused in own), sum(reused for _, reused in own)


def _batch(job_ids: Collection[str]) -> Iterator[list[uuid.UUID]]:
    names = list(job_ids)
    return ([uuid.UUID(name) for name in names[at : at + _AT_ONCE]] for at in range(0, len(names), _AT_ONCE))
