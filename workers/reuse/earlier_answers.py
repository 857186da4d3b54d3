"""Answering a stage from an earlier job, in the transaction that would make it ready or would claim it.

Two jobs of one study at once both run, unless one of them has ended a stage before the other claims it: nobody waits.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from sqlalchemy.orm import Session

from shared.events import record_stage_state
from shared.metrics import STAGES_REUSED
from shared.settings import Settings
from shared.stages import WEIGHTED_STAGES, StageName
from shared.states import StageState
from shared.tables import Job
from shared.telemetry import get_logger
from workers.reuse.recipe import Kitchen, compute_recipe
from workers.reuse.repository import (
    copy_answer,
    fetch_active_model,
    fetch_study,
    find_donor,
    hold_answer,
    is_claimable,
)

_log = get_logger()


class EarlierAnswers:
    """Finds answers of earlier jobs of the same tenant. One for each process; safe to use from several threads."""

    def __init__(self, settings: Settings) -> None:
        self._is_on = settings.reuse
        self._kitchen = Kitchen.of_settings(settings)

    def compute_recipe(self, session: Session, job: Job, stage: StageName, facts: Mapping[str, object]) -> str | None:
        """Return the recipe of an answer that was just made; `facts` are those of its run."""
        if stage not in WEIGHTED_STAGES:
            return None
        digest = facts.get("digest")
        return compute_recipe(stage, None if digest is None else str(digest), fetch_study(session, job), self._kitchen)

    def answer(self, session: Session, job: Job, stage: StageName) -> bool:
        """End a stage of a locked job with the answer of an earlier one; False where there is none.

        The caller moves the job on.
        """
        if not self._is_on or stage not in WEIGHTED_STAGES or job.options.get("reuse") is False:
            return False
        model_digest = fetch_active_model(session, stage)
        recipe = compute_recipe(stage, model_digest, fetch_study(session, job), self._kitchen)
        return recipe is not None and self._copy(session, job, stage, recipe)

    def answer_claimable(self, session: Session, job: Job, stage: StageName) -> bool:
        """Do the same for a stage that a worker could claim now."""
        return stage in WEIGHTED_STAGES and is_claimable(session, job.id, stage) and self.answer(session, job, stage)

    def _copy(self, session: Session, job: Job, stage: StageName, recipe: str) -> bool:
        donor = find_donor(session, job, stage, recipe)
        answer = None if donor is None else hold_answer(session, donor)
        if answer is None:
            return False  # there is none, or it has just been erased
        _tell(session, job.id, stage, copy_answer(session, job.id, answer))
        return True


def _tell(session: Session, job_id: uuid.UUID, stage: StageName, origin: uuid.UUID) -> None:
    record_stage_state(session, job_id, stage, StageState.SUCCEEDED, {"reused_from": str(origin)})
    STAGES_REUSED.labels(stage=stage).inc()
    _log.info("stage answered by an earlier job", job_id=str(job_id), stage=stage, reused_from=str(origin))
