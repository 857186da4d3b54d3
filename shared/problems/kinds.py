"""What an entry of the catalogue tells."""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.json_values import JsonObject
from shared.problems.codes import ProblemCode


@dataclass(frozen=True)
class FieldError:
    """One wrong field of a request: a JSON Pointer (RFC 6901) and what is wrong."""

    pointer: str
    message: str


@dataclass(frozen=True)
class ProblemExample:
    """A problem as it is really answered. `instance` is the address that was asked, or that of the job."""

    detail: str
    facts: JsonObject = field(default_factory=dict)
    errors: tuple[FieldError, ...] = ()
    instance: str = "/v1/jobs/7f0c1d52-4c5e-4f0e-9a5b-2b8f2f3f6a11"


@dataclass(frozen=True)
class ProblemKind:
    """What a code means: `status` when it is an HTTP answer, `advice` for whoever must act.

    `cause` says what was found, in words of a PACS, and `related` names codes that are easily taken for this one.
    """

    title: str
    status: int
    advice: str
    cause: str = ""
    example: ProblemExample | None = None
    related: tuple[ProblemCode, ...] = ()
