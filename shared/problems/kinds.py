"""What an entry of the catalogue tells, and how a problem looks as a document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from shared.json_values import JsonObject, JsonValue
from shared.problems.codes import ProblemCode

_JOB = "/v1/jobs/7f0c1d52-4c5e-4f0e-9a5b-2b8f2f3f6a11"
_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


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
    instance: str = _JOB
    trace_id: str | None = None


@dataclass(frozen=True)
class ProblemKind:
    """What a code means: `status` when it is an HTTP answer, `advice` for whoever must act.

    `cause` says what was found, in the words of a PACS; `related` names codes that are easily taken for this one.
    """

    title: str
    status: int
    advice: str
    cause: str = ""
    example: ProblemExample | None = None
    related: tuple[ProblemCode, ...] = ()


def show_of_job(detail: str, **facts: JsonValue) -> ProblemExample:
    """Return the example of a problem that a job ended with."""
    return ProblemExample(detail, facts)


def show_of_request(
    detail: str, *, instance: str = "/v1/jobs", errors: tuple[FieldError, ...] = (), **facts: JsonValue
) -> ProblemExample:
    """Return the example of a problem that a request was answered with; by default, a submission."""
    return ProblemExample(detail, facts, errors, instance, _TRACE)


def make_document(
    code: ProblemCode,
    kind: ProblemKind,
    detail: str,
    facts: JsonObject,
    errors: Sequence[FieldError],
) -> dict[str, JsonValue]:
    """Return the RFC 9457 members that do not depend on the request."""
    return {
        **facts,
        "type": f"/v1/problems/{code}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "advice": kind.advice,
        "code": str(code),
        "errors": [{"pointer": error.pointer, "message": error.message} for error in errors],
    }


def make_example_document(code: ProblemCode, kind: ProblemKind) -> dict[str, JsonValue]:
    """Return the example of a kind as a caller would see it."""
    example = kind.example or ProblemExample(f"{kind.title}.")
    document = make_document(code, kind, example.detail, example.facts, example.errors)
    return {**document, "instance": example.instance, "trace_id": example.trace_id}
