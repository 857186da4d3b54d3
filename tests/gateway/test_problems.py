"""Errors: one shape, one vocabulary, nothing of ours in them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import Engine, text

from shared.database import transaction
from shared.problems import CATALOGUE, ProblemCode
from tests.gateway.conftest import RunningGateway

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
MEMBERS = {"type", "title", "status", "detail", "advice", "instance", "code", "errors", "trace_id"}


class TestEveryError:
    @pytest.mark.parametrize(
        ("method", "path", "status", "code"),
        [
            ("GET", "/nothing/here", 404, "not_found"),
            ("GET", "/v1/jobs/", 404, "not_found"),
            ("GET", "/v1/problems/no_such_code", 404, "not_found"),
            ("DELETE", "/v1/jobs", 405, "method_not_allowed"),
            ("GET", "/predict", 405, "method_not_allowed"),
            ("GET", "/v1/jobs?colour=red", 422, "validation_failed"),
            ("GET", "/v1/models?colour=red", 422, "validation_failed"),
        ],
    )
    def test_is_a_problem_with_its_trace(
        self, gateway: RunningGateway, method: str, path: str, status: int, code: str
    ) -> None:
        answer = gateway.http.request(method, path)
        problem = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert set(problem) >= MEMBERS
        assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
        assert problem["trace_id"] == answer.headers["x-trace-id"]
        page = gateway.http.get(problem["type"]).json()
        assert (page["code"], page["advice"]) == (code, problem["advice"])
        assert ("allow" in answer.headers) == (status == 405)

    def test_that_nobody_foresaw_says_nothing_of_ours(self, gateway: RunningGateway, engine: Engine) -> None:
        with transaction(engine) as session:
            session.execute(text("ALTER TABLE model_versions RENAME TO hidden"))
        try:
            answer = gateway.http.get("/v1/models", headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
        finally:
            with transaction(engine) as session:
                session.execute(text("ALTER TABLE hidden RENAME TO model_versions"))
        assert (answer.status_code, answer.json()["code"], answer.json()["trace_id"]) == (500, "internal_error", TRACE)
        assert not re.search(r"Traceback|\.py|model_versions|sqlalchemy|psycopg", answer.text)


class TestTheTrace:
    def test_of_the_caller_is_kept(self, gateway: RunningGateway) -> None:
        answer = gateway.http.get("/health", headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
        assert answer.headers["x-trace-id"] == TRACE

    @pytest.mark.parametrize(
        "sent", ["", "00-zz-00f067aa0ba902b7-01", f"00-{'0' * 32}-00f067aa0ba902b7-01", f"00-{TRACE.upper()}-0-01"]
    )
    def test_that_is_malformed_is_replaced_and_not_repeated(self, gateway: RunningGateway, sent: str) -> None:
        answer = gateway.http.get("/health", headers={"traceparent": sent})
        assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-trace-id"])
        assert answer.headers["x-trace-id"] != "0" * 32


class TestTheCatalogue:
    def test_is_listed_whole(self, gateway: RunningGateway) -> None:
        items = gateway.http.get("/v1/problems").json()["items"]
        assert [item["code"] for item in items] == list(CATALOGUE)

    @pytest.mark.parametrize("code", list(ProblemCode))
    def test_has_a_page_for_every_code(self, gateway: RunningGateway, code: ProblemCode) -> None:
        page = gateway.http.get(f"/v1/problems/{code}").json()
        assert (page["title"], page["advice"]) == (CATALOGUE[code].title, CATALOGUE[code].advice)


class TestTheApiDescription:
    @pytest.fixture
    def document(self, gateway: RunningGateway) -> dict[str, Any]:
        document: dict[str, Any] = gateway.http.get("/openapi.json").json()
        return document

    def test_is_openapi_3_1(self, document: dict[str, Any]) -> None:
        assert document["openapi"].startswith("3.1")

    @pytest.mark.parametrize("code", list(ProblemCode))
    def test_has_an_example_of_every_code_under_its_status(self, document: dict[str, Any], code: ProblemCode) -> None:
        answers = [
            (path, int(status), response)
            for path, methods in document["paths"].items()
            for operation in methods.values()
            for status, response in operation["responses"].items()
        ]
        answers += [("/v1/", 405, document["components"]["responses"]["MethodNotAllowed"])]
        examples = [
            (path, status)
            for path, status, response in answers
            for content in response.get("content", {}).values()
            if str(code) in content.get("examples", {})
        ]
        assert examples
        assert all(status == CATALOGUE[code].status for path, status in examples if path.startswith("/v1/"))

    @pytest.mark.parametrize("path", ["/predict", "/predict_nifti"])
    def test_names_the_headers_of_a_prediction(self, document: dict[str, Any], path: str) -> None:
        headers = document["paths"][path]["post"]["responses"]["200"]["headers"]
        assert set(headers) == {"X-Weights-Profile", "Link"}

    def test_leads_nowhere_that_does_not_exist(self, document: dict[str, Any]) -> None:
        named = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
        assert named <= set(document["components"]["schemas"])
        assert "HTTPValidationError" not in document["components"]["schemas"]

    def test_is_where_the_bare_address_leads(self, gateway: RunningGateway) -> None:
        answer = gateway.http.get("/")
        assert (answer.status_code, answer.headers["location"]) == (307, "/docs")

    def test_says_where_to_see_which_models_run(self, document: dict[str, Any]) -> None:
        assert "`GET /v1/models` tells which of the five run here" in document["info"]["description"]

    def test_is_shown_without_anything_from_elsewhere(self, gateway: RunningGateway, document: dict[str, Any]) -> None:
        page = gateway.http.get("/docs")
        assert page.status_code == 200
        assert not re.search(r"<script|https?://(?!127\.0\.0\.1)[^<]*(\.js|\.css)|src=", page.text)
        assert all(path in page.text for path in document["paths"])


class TestWhatRunsHere:
    def test_is_told_with_what_is_missing(self, gateway: RunningGateway) -> None:
        models = gateway.http.get("/v1/models").json()
        assert len(models["items"]) == 9
        assert (models["completeness"]["answering"], models["completeness"]["expected"]) == (1, 5)
        assert {"model": "fvlm", "reason": "model_not_installed"} in models["completeness"]["missing"]
        mednext = next(item for item in models["items"] if item["name"] == "mednext")
        assert (mednext["is_available"], mednext["digest"]) == (True, "d" * 64)
        assert models["policy"]["id"] == "default-1"

    def test_is_told_with_every_limit(self, gateway: RunningGateway) -> None:
        limits = gateway.http.get("/v1/limits").json()
        assert limits["upload_bytes"] == gateway.settings.upload_limit_bytes
        assert all(value is not None for value in limits.values())

    def test_is_told_with_the_schema_of_the_result(self, gateway: RunningGateway) -> None:
        schema = gateway.http.get("/v1/schemas/result").json()
        assert {"study_uid", "probability_of_pathology"} <= set(schema["properties"])
