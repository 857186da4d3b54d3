"""Access in the API description: how to say who one is, and for each route what it needs."""

from __future__ import annotations

from typing import Any

from gateway.access.rules import AccessRules, GuardedRoute
from gateway.problems.examples import document_problem, document_problems
from shared.problems import CATALOGUE, ProblemCode

_SCHEME = "bearer"
AT_THE_GATE = (
    ProblemCode.AUTHENTICATION_REQUIRED,
    ProblemCode.CREDENTIALS_INVALID,
    ProblemCode.RATE_LIMITED,
    ProblemCode.IDENTITY_PROVIDER_UNAVAILABLE,
)
"""What any route but the open ones may be answered with."""

_OF_FILES = ("multipart/form-data", "application/zip", "application/octet-stream")
_LIMIT_HEADERS = {
    "RateLimit": {"description": 'What is left: `"requests";r=LEFT;t=SECONDS`.', "schema": {"type": "string"}},
    "RateLimit-Policy": {
        "description": 'The limit: `"requests";q=REQUESTS;w=SECONDS`.',
        "schema": {"type": "string"},
    },
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}},
}


def describe_access(document: dict[str, Any], rules: AccessRules) -> None:
    """Add to an OpenAPI document what is asked of callers, where authentication is on."""
    document["components"]["securitySchemes"] = {
        _SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key (`ctclip_...`, made by `POST /v1/api-keys`) or a token of the identity provider "
            "of the operator. Not needed on an installation that is open to its own machine alone.",
        }
    }
    for guarded in rules:
        operation = document["paths"].get(guarded.route.path, {}).get(guarded.method.lower())
        if operation is not None:
            _describe_operation(operation, guarded)


def _describe_operation(operation: dict[str, Any], guarded: GuardedRoute) -> None:
    rule = guarded.rule
    operation["security"] = [] if rule.is_open else [{_SCHEME: list(map(str, rule.scopes))}]
    _add_problem(operation["responses"], ProblemCode.HOST_NOT_ALLOWED)
    if rule.is_open:
        return
    of_scope = (ProblemCode.INSUFFICIENT_SCOPE,) if rule.scopes else ()
    of_operators = (ProblemCode.TENANT_FORBIDDEN,) if rule.is_operators else ()
    of_files = (ProblemCode.TENANT_UPLOADS_BUSY,) if _takes_file(operation) else ()
    for code in (*AT_THE_GATE, *of_scope, *of_operators, *of_files):
        _add_problem(operation["responses"], code)
    limited = operation["responses"][str(CATALOGUE[ProblemCode.RATE_LIMITED].status)]
    limited.setdefault("headers", {}).update(_LIMIT_HEADERS)


def _takes_file(operation: dict[str, Any]) -> bool:
    return any(kind in operation.get("requestBody", {}).get("content", {}) for kind in _OF_FILES)


def _add_problem(responses: dict[str, Any], code: ProblemCode) -> None:
    """Document a problem beside those of the same status."""
    status = CATALOGUE[code].status
    own: dict[str, Any] = document_problems(code)[status]
    kept = responses.setdefault(str(status), own)
    if kept is own:
        return
    for media_type, content in document_problem(code)["content"].items():
        there = kept.setdefault("content", {}).setdefault(media_type, content)
        there.setdefault("examples", {}).update(content["examples"])
    if f"`{code}`" not in kept["description"]:
        kept["description"] = f"{kept['description'].rstrip('.')}; {own['description']}"
