"""States of jobs, stages and webhook messages. Terminal answers never change."""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """Life of a job, as callers see it."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    COMPLETED_PARTIAL = "completed_partial"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended for good."""
        return self not in {JobState.QUEUED, JobState.RUNNING}

    @property
    def has_result(self) -> bool:
        """Whether a result document was published."""
        return self in {JobState.COMPLETED, JobState.COMPLETED_PARTIAL}


class StageState(StrEnum):
    """Life of one stage of a job."""

    WAITING = "waiting"
    READY = "ready"
    LEASED = "leased"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether the stage will never run again."""
        return self in {
            StageState.SUCCEEDED,
            StageState.FAILED,
            StageState.SKIPPED,
            StageState.CANCELLED,
        }


class DeliveryState(StrEnum):
    """Life of one webhook message to one address."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
