"""The one place where errors become answers."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from gateway.problems.responses import make_problem_response
from shared.errors import InputProblem, TransientFault
from shared.json_values import JsonValue
from shared.problems import CATALOGUE, FieldError, Problem, ProblemCode
from shared.telemetry import get_logger

_log = get_logger()
_BY_STATUS = {404: ProblemCode.NOT_FOUND, 405: ProblemCode.METHOD_NOT_ALLOWED}
_MOST_ERRORS = 100  # told of one request
_LONGEST_STEP = 100  # of a pointer: it may repeat a name that a caller made up
_DETAILS = {
    ProblemCode.NOT_FOUND: "There is nothing at this address.",
    ProblemCode.METHOD_NOT_ALLOWED: "This address does not answer to this method.",
    ProblemCode.MALFORMED_REQUEST: "The request is not one that this address understands.",
}
UNREADABLE_JSON = "The body is no JSON that can be read."


class InvalidFields(InputProblem):
    """The request has wrong or unknown fields; each is named."""

    def __init__(self, *errors: FieldError) -> None:
        super().__init__(ProblemCode.VALIDATION_FAILED, "Some fields of the request are wrong. `errors` names each.")
        self.problem = Problem(self.problem.code, self.problem.detail, errors=errors[:_MOST_ERRORS])


class RetryLater(InputProblem):
    """The request is right but early; `retry_after_s` says when to repeat it."""

    def __init__(self, code: ProblemCode, detail: str, *, retry_after_s: int, **facts: JsonValue) -> None:
        super().__init__(code, detail, **facts)
        self.retry_after_s = retry_after_s


def install_problem_handlers(app: FastAPI) -> None:
    """Make every error that leaves a route a problem answer."""
    app.add_exception_handler(InputProblem, _answer_input_problem)
    app.add_exception_handler(TransientFault, _answer_transient_fault)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(RequestValidationError, _answer_validation_error)


def describe_fault(fault: TransientFault) -> Problem:
    """Return the problem that a caller may see of a fault; its message is for logs only."""
    return Problem(fault.code, f"{CATALOGUE[fault.code].title}. The same request may succeed later.")


async def _answer_input_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, InputProblem)
    headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, RetryLater) else None
    return make_problem_response(request.scope, error.problem, headers)


async def _answer_transient_fault(request: Request, error: Exception) -> Response:
    assert isinstance(error, TransientFault)
    _log.warning("transient fault", code=error.code, message=str(error))
    return make_problem_response(request.scope, describe_fault(error))


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _BY_STATUS.get(error.status_code, ProblemCode.MALFORMED_REQUEST)
    headers = dict(error.headers or {})
    if code is ProblemCode.METHOD_NOT_ALLOWED and (methods := _list_methods(request)):
        headers["Allow"] = ", ".join(methods)  # the framework names those of the first route alone
    return make_problem_response(request.scope, Problem(code, _DETAILS[code]), headers)


def _list_methods(request: Request) -> list[str]:
    """Return the methods of every route of ours at this address, and not of those that only its form fits too."""
    routes = [guarded.route for guarded in request.app.state.rules]
    path = next((route.path for route in routes if route.matches(request.scope)[0] is not Match.NONE), None)
    return sorted({method for route in routes if route.path == path for method in route.methods})


async def _answer_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return make_problem_response(request.scope, _explain(error))


def _explain(error: RequestValidationError) -> Problem:
    found = error.errors()
    if any(each["type"] == "json_invalid" for each in found):
        return Problem(ProblemCode.MALFORMED_REQUEST, UNREADABLE_JSON)
    if isinstance(error.body, bytes) and error.body:  # the framework reads only what is announced as JSON
        return Problem(ProblemCode.UNSUPPORTED_MEDIA_TYPE, "This address reads application/json.")
    fields = (FieldError(make_pointer(each["loc"][1:]), say_what_is_wrong(each["type"], each["msg"])) for each in found)
    return InvalidFields(*fields).problem


def make_pointer(path: Sequence[str | int]) -> str:
    """Return a JSON Pointer (RFC 6901)."""
    return "".join("/" + str(step)[:_LONGEST_STEP].replace("~", "~0").replace("/", "~1") for step in path)


def say_what_is_wrong(kind: str, message: str) -> str:
    """Return pydantic's message about a field in our words."""
    return "Unknown field" if kind == "extra_forbidden" else message.removeprefix("Value error, ")
