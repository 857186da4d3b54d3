"""The OpenAPI 3.1 document."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from gateway.access.description import describe_access
from gateway.access.rules import AccessRules
from gateway.events.schemas import EventData
from gateway.problems.examples import document_problem
from gateway.problems.schemas import ProblemBody
from shared.problems import ProblemCode

_REFERENCE = "#/components/schemas/{model}"
_DESCRIPTION = (
    "Reads a chest CT with up to five models and answers with one explained probability; `GET /v1/models` tells which "
    "of the five run here. Submit a study to `POST /v1/jobs`, follow the job, fetch its result. Every error is a "
    "problem (RFC 9457) whose `code` stands in `GET /v1/problems`. For research; not a medical device."
)


def install_openapi(app: FastAPI, rules: AccessRules) -> None:
    """Make the application describe itself; the description is made once, when first asked."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _describe(app, rules)
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _describe(app: FastAPI, rules: AccessRules) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=_DESCRIPTION, routes=app.routes)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for body in (ProblemBody, EventData):  # what no route declares as its whole answer
        described = body.model_json_schema(ref_template=_REFERENCE)
        schemas.update(described.pop("$defs", {}))
        schemas[body.__name__] = described
    document["components"]["responses"] = {"MethodNotAllowed": document_problem(ProblemCode.METHOD_NOT_ALLOWED)}
    describe_access(document, rules)
    return document
