"""What a call can end with.

ClientError
├── ApiError      the API refused; `problem` says why and `status` is that of HTTP
├── Damaged       what was downloaded has another digest than it should have
├── JobFailed     the job ended without a result; `problem` says why
├── Unreachable   nothing answers at the address, or not as this API does
└── WaitExpired   the job goes on, but longer than one wanted to wait
"""

from __future__ import annotations

from client.documents import Job, Problem


class ClientError(Exception):
    """Root of everything that the client raises on purpose."""


def _describe(problem: Problem) -> str:
    """Return the problem in one line, with what is wrong with each field where fields are wrong."""
    wrong = "; ".join(f"{pointer.lstrip('/') or 'body'}: {message}" for pointer, message in problem.field_errors)
    detail = wrong or problem.detail
    return f"{problem.title}: {detail}" if detail else problem.title


class ApiError(ClientError):
    """The API answered with a problem document."""

    def __init__(self, status: int, problem: Problem) -> None:
        super().__init__(_describe(problem))
        self.status = status
        self.problem = problem

    @property
    def code(self) -> str:
        """The problem code: what a program decides by."""
        return self.problem.code


class Damaged(ClientError):
    """What was downloaded has another digest than the API says it has; the file was not kept."""

    def __init__(self, name: str) -> None:
        super().__init__(f"What came of {name} has another SHA-256 than the API says. Download it again.")


class JobFailed(ClientError):
    """The job ended in a state that has no result."""

    def __init__(self, job: Job) -> None:
        reason = f": {job.problem.title}. {job.problem.detail}" if job.problem else ""
        super().__init__(f"The job ended as {job.state}{reason}")
        self.job = job
        self.problem = job.problem

    @property
    def code(self) -> str | None:
        """The problem code: what a program decides by. None of a job that was cancelled."""
        return self.problem.code if self.problem else None


class Unreachable(ClientError):
    """Nothing answers at the address, or not as this API does."""


class WaitExpired(ClientError):
    """The job did not end within the time that the caller gave it; it goes on."""

    def __init__(self, job_id: str, limit_s: float) -> None:
        super().__init__(f"Job {job_id} did not end within {limit_s:.0f} s. It goes on: `ctclip watch {job_id}`.")
        self.job_id = job_id
