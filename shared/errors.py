"""Errors by what happens next.

CtclipError
├── InputProblem     the caller must change something; never retried
├── TransientFault   try again later; retried, bounded
│   └── CommitInDoubt    nobody knows whether the transaction stands: what its rows name must be kept
├── Defect           we have a bug; one retry elsewhere, then a dead letter
│   └── SpoiledProcess   memory or device failed: tried elsewhere, and this process takes no more work
├── Unanswerable     there is nothing to answer with; the job fails with its problem
└── StaleLease       somebody else owns the stage now; drop the work silently
    └── StageCancelled   the job has ended: nobody wants the answer any more
"""

from __future__ import annotations

from collections.abc import Mapping

from shared.json_values import JsonValue
from shared.problems import Problem, ProblemCode


class CtclipError(Exception):
    """Root of everything that this product raises on purpose."""


class InputProblem(CtclipError):
    """The study or the request is at fault. Carries a problem that may be shown to the caller."""

    def __init__(self, code: ProblemCode, detail: str, **facts: JsonValue) -> None:
        super().__init__(detail)
        self.problem = Problem(code, detail, facts)


class TransientFault(CtclipError):
    """Something around us is unwell; the same work may succeed later. The message is for logs only."""

    def __init__(self, code: ProblemCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class CommitInDoubt(TransientFault):
    """The database went away while a transaction was being committed: nobody knows whether it stands."""


class Defect(CtclipError):
    """A promise of our own code or of our weights was broken. The message is for logs only."""

    def __init__(self, message: str, **facts: JsonValue) -> None:
        super().__init__(message)
        self.facts: Mapping[str, JsonValue] = facts


class SpoiledProcess(Defect):
    """This process ran out of memory or lost its device; `code` says how the stage ends when another does so too."""

    def __init__(self, message: str, code: ProblemCode) -> None:
        super().__init__(message)
        self.code = code


class StaleLease(CtclipError):
    """The lease token no longer holds: another worker owns the stage or it has ended."""


class StageCancelled(StaleLease):
    """The job has ended, by a cancellation or its deadline: nobody wants the answer any more."""


class Unanswerable(CtclipError):
    """The work is sound but there is nothing to answer with; the job fails with this problem, without retry."""

    def __init__(self, code: ProblemCode, detail: str, **facts: JsonValue) -> None:
        super().__init__(detail)
        self.problem = Problem(code, detail, facts)
