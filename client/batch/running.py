"""Brings every study of a batch to an outcome, several at once. What dies here is taken up by the next run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from client.asynchronous import AsyncClient
from client.batch.journal import Journal
from client.batch.outcomes import (
    FILE_UNREADABLE,
    Outcome,
    describe_failure,
    describe_result,
    describe_unfinished,
)
from client.batch.progress import Progress
from client.batch.studies import Study
from client.documents import Job, Problem
from client.errors import ApiError, ClientError, WaitExpired
from client.exchange import PASSING
from client.parts import ANOTHERS

# A key whose upload was cut off is free again after a minute.
PATIENCE_S = 300.0

_POLL_S = 1.0
_NOT_FOUND, _GONE = 404, 410
_ABOUT_THE_STUDY = frozenset({400, 409, _GONE, 413, 415, 422})
"""Refusals that another try of the same study would meet again; any other one ends the batch."""
_OF_THIS_TRY = PASSING | ANOTHERS | {"checksum_mismatch"}
"""Refusals of this try only, whatever their status: the next run sends the study again."""


@dataclass(frozen=True)
class Batch:
    """What to send, how many at once, and how long to wait for one study. `options` are those of a submission.

    `unfinished` tells, by name, of studies that the next run goes on with.
    """

    studies: Sequence[Study]
    journal: Journal
    options: Mapping[str, str] = field(default_factory=dict)
    concurrency: int = 4
    study_limit_s: float = 3600.0
    unfinished: dict[str, Outcome] = field(default_factory=dict)


async def run_batch(api: AsyncClient, batch: Batch, progress: Progress) -> ClientError | None:
    """Bring the studies to their outcomes. Returns what ended the batch before that, or None."""
    batch.journal.plan(batch.studies)
    waiting = iter([study for study in batch.studies if batch.journal.get(study).outcome is None])
    ended_by: ClientError | None = None
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(batch.concurrency):
                group.create_task(_work(_Sender(api, batch, progress), waiting))
    except* ClientError as errors:
        ended_by = next(_iterate_errors(errors))
    return ended_by


def list_outcomes(batch: Batch) -> list[Outcome]:
    """Return one outcome for each study, in their order; of one that has none yet, that it has none."""
    kept = ((study, batch.journal.get(study).outcome) for study in batch.studies)
    return [outcome or batch.unfinished.get(study.name) or describe_unfinished(study) for study, outcome in kept]


async def _work(sender: _Sender, waiting: Iterator[Study]) -> None:
    for study in waiting:
        await sender.process(study)


class _Sender:
    """Sends one study after the other."""

    def __init__(self, api: AsyncClient, batch: Batch, progress: Progress) -> None:
        self._api = api
        self._batch = batch
        self._journal = batch.journal
        self._progress = progress

    async def process(self, study: Study) -> None:
        """Bring one study to its outcome, and keep it. Raises ClientError when the batch cannot go on."""
        self._progress.begin(study)
        try:
            outcome = await self._find_outcome(study)
        except WaitExpired as error:
            self._leave(study, describe_unfinished(study, detail=str(error)))
        except ApiError as error:
            if error.code not in _OF_THIS_TRY:
                raise
            self._leave(study, describe_unfinished(study, detail=str(error)))
        except OSError as error:
            self._leave(study, describe_unfinished(study, FILE_UNREADABLE, error.strerror or ""))
        else:
            self._journal.note_outcome(study, outcome)
            self._progress.end(study, outcome)

    def _leave(self, study: Study, outcome: Outcome) -> None:
        self._batch.unfinished[study.name] = outcome
        self._progress.end(study, outcome)

    async def _find_outcome(self, study: Study) -> Outcome:
        try:
            job = await self._follow(study, await self._ensure_job(study))
            if job.has_result:
                return describe_result(study, job, await self._api.fetch_result(job.id))
        except ApiError as error:
            if error.status not in _ABOUT_THE_STUDY or error.code in _OF_THIS_TRY:
                raise
            return describe_failure(study, error.problem)
        return describe_failure(study, job.problem or Problem(job.state, f"The job was {job.state}", "", None, {}), job)

    async def _ensure_job(self, study: Study) -> str:
        known = self._journal.get(study).job_id
        if known is not None and await self._exists(known):
            return known
        if known is not None:
            self._journal.plan_again(study)
        key = self._journal.get(study).key
        job = await self._api.submit(
            study.path,
            self._batch.options,
            idempotency_key=key,
            on_progress=lambda sent, size: self._progress.upload(study, sent, size),
        )
        self._journal.note_job(study, job.id)
        return job.id

    async def _exists(self, job_id: str) -> bool:
        """Say whether the platform knows a job: one set up anew does not."""
        try:
            await self._api.fetch_job(job_id)
        except ApiError as error:
            if error.status != _NOT_FOUND:
                raise
            return False
        return True

    async def _follow(self, study: Study, job_id: str) -> Job:
        async for job in self._api.iterate_updates(job_id, limit_s=self._batch.study_limit_s, poll_s=_POLL_S):
            self._progress.move(study, job)
        return job


def _iterate_errors(group: BaseExceptionGroup[ClientError]) -> Iterator[ClientError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _iterate_errors(error)
        else:
            yield error
