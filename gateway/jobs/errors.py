"""Problems of jobs, each made in one place."""

from __future__ import annotations

from gateway.problems.handlers import RetryLater
from shared.access_tables import Erasure
from shared.errors import InputProblem
from shared.problems import ProblemCode
from shared.states import JobState


class JobNotFound(InputProblem):
    """No job of this tenant has this id."""

    def __init__(self) -> None:
        super().__init__(ProblemCode.JOB_NOT_FOUND, "There is no job of this id.")


class JobErased(InputProblem):
    """The job was erased; only its certificate is left."""

    def __init__(self, erasure: Erasure) -> None:
        super().__init__(
            ProblemCode.ERASED,
            f"Only the certificate {erasure.id} is left of it.",
            certificate_id=str(erasure.id),
            erased_at=erasure.erased_at.isoformat().replace("+00:00", "Z"),
        )


class JobNotFinished(RetryLater):
    """The answer asked for exists only at the end of the job."""

    def __init__(self, state: JobState, retry_after_s: int) -> None:
        detail = f"The job is {state}; its result exists once it has ended."
        super().__init__(ProblemCode.JOB_NOT_FINISHED, detail, retry_after_s=retry_after_s)


class IntakeNotFinished(RetryLater):
    """The upload is still being read."""

    def __init__(self, retry_after_s: int) -> None:
        detail = "The upload is still waiting to be read, or being read."
        super().__init__(ProblemCode.INTAKE_NOT_FINISHED, detail, retry_after_s=retry_after_s)


class JobCannotBeRetried(InputProblem):
    """The job did not fail, or its study was removed since. `reason` says which."""

    def __init__(self, state: JobState, reason: str) -> None:
        detail = f"The job is {state} and cannot be retried: {reason}."
        super().__init__(ProblemCode.JOB_CANNOT_BE_RETRIED, detail, job_state=str(state), reason=reason)


class JobAlreadyFinished(InputProblem):
    """The job ended before it was cancelled."""

    def __init__(self, state: JobState) -> None:
        detail = f"The job is {state}: it can no longer be cancelled."
        super().__init__(ProblemCode.JOB_ALREADY_FINISHED, detail, job_state=str(state))
