"""Errors: one shape, one vocabulary, nothing of ours in them."""

from __future__ import annotations

import re
from enum import StrEnum
from html import unescape
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from gateway.problems.page import render_catalogue
from gateway.problems.schemas import FileKindBody
from shared.byte_units import MIB
from shared.database import transaction
from shared.file_codes import FileCode, FileOutcome
from shared.notices import NoticeCode
from shared.problems import CATALOGUE, ProblemCode, make_example
from tests.gateway.conftest import ZIP, RunningGateway

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


class TestABodyOfTwoLengths:
    def test_is_refused_and_ends_the_connection(self, gateway: RunningGateway) -> None:
        lengths = f"Content-Length: {len(ZIP)}\r\nTransfer-Encoding: chunked\r\n\r\n"
        with gateway.connect() as connection:
            connection.sendall(f"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\n{lengths}0\r\n\r\n".encode())
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b'"malformed_request"' in answer


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

    def test_is_of_one_request_also_on_a_connection_that_is_used_again(self, gateway: RunningGateway) -> None:
        with httpx.Client(base_url=gateway.url, limits=httpx.Limits(max_connections=1)) as http:
            large = ZIP.ljust(MIB, b"\0")  # more than the server reads at once
            answers = [http.post("/v1/jobs", content=large), *(http.get("/v1/limits") for _ in range(3))]
            answers += [http.post("/v1/jobs", content=large), http.get("/v1/limits")]
        traces = [answer.headers["x-trace-id"] for answer in answers]
        assert len(set(traces)) == len(traces)


class TestTheCatalogue:
    def test_is_listed_whole(self, gateway: RunningGateway) -> None:
        items = gateway.http.get("/v1/problems").json()["items"]
        assert [item["code"] for item in items] == list(CATALOGUE)

    @pytest.mark.parametrize("code", list(ProblemCode))
    def test_has_a_page_for_every_code(self, gateway: RunningGateway, code: ProblemCode) -> None:
        page, kind = gateway.http.get(f"/v1/problems/{code}").json(), CATALOGUE[code]
        assert (page["title"], page["cause"], page["advice"]) == (kind.title, kind.cause, kind.advice)
        assert (page["example"], page["related"]) == (make_example(code), list(kind.related))

    @pytest.mark.parametrize(("path", "codes"), [("/v1/file-codes", FileCode), ("/v1/warnings", NoticeCode)])
    def test_of_files_and_warnings_is_listed_and_has_pages(
        self, gateway: RunningGateway, path: str, codes: type[StrEnum]
    ) -> None:
        items = gateway.http.get(path).json()["items"]
        assert [item["code"] for item in items] == list(codes)
        assert [gateway.http.get(item["type"]).json() for item in items] == items
        assert gateway.http.get(f"{path}/no_such_code").json()["code"] == "not_found"


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


class TestAPageForBrowsers:
    @pytest.mark.parametrize("code", list(ProblemCode))
    def test_tells_what_the_catalogue_tells(self, gateway: RunningGateway, code: ProblemCode) -> None:
        answer = gateway.http.get(f"/v1/problems/{code}", headers={"Accept": BROWSER})
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        text = unescape(re.sub(r"</?code>", "`", answer.text))
        assert all(part in text for part in (CATALOGUE[code].title, CATALOGUE[code].cause, CATALOGUE[code].advice))
        assert all(f"href='/v1/problems/{other}'" in answer.text for other in CATALOGUE[code].related)

    @pytest.mark.parametrize(
        "path",
        ["/v1/problems", "/v1/problems/slice_gap", "/v1/file-codes", "/v1/file-codes/junk", "/v1/warnings/oblique"],
    )
    def test_needs_nothing_from_elsewhere_and_runs_nothing(self, gateway: RunningGateway, path: str) -> None:
        answer = gateway.http.get(path, headers={"Accept": BROWSER})
        assert answer.text.startswith("<!doctype html>")
        assert not re.search(r"<script|src=|https?://", answer.text)
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert answer.headers["vary"] == "Accept"

    @pytest.mark.parametrize(
        "path", ["/v1/problems", "/v1/problems/job_has_no_result", "/v1/file-codes", "/v1/warnings"]
    )
    def test_leads_only_to_pages_that_open(self, gateway: RunningGateway, path: str) -> None:
        page = gateway.http.get(path, headers={"Accept": BROWSER}).text
        links = set(re.findall(r"href='([^']+)'", page))
        assert links
        assert {gateway.http.get(link, headers={"Accept": BROWSER}).status_code for link in links} == {200}

    @pytest.mark.parametrize(
        ("accept", "is_page"),
        [
            (BROWSER, True),
            ("text/html", True),
            ("Text/HTML; Q=0.5", True),
            ("*/*", False),
            ("", False),
            ("application/json", False),
            ("application/json, text/html;q=0.9", False),
            ("application/json;q=0.1, text/html", True),
            ("text/html;q=0", False),
            ("text/html;q=nonsense", False),
            ("application/problem+json", False),
        ],
    )
    def test_is_given_to_whom_asks_for_it(self, gateway: RunningGateway, accept: str, is_page: bool) -> None:
        answer = gateway.http.get("/v1/problems/slice_gap", headers={"Accept": accept})
        assert (answer.headers["content-type"] != "application/json") == is_page

    def test_shows_what_is_told_as_text_only(self) -> None:
        kind = FileKindBody(
            type="/x' onclick='", code=FileCode.JUNK, outcome=FileOutcome.IGNORED, meaning="<b>`<i>`", advice="&"
        )
        page = render_catalogue(kind)
        assert "&lt;b&gt;<code>&lt;i&gt;</code>" in page
        assert "href='/x&#x27; onclick=&#x27;'" in page


def drop_nulls(value: object) -> object:
    """Return a value as FastAPI writes it into its description: without members that are null."""
    if isinstance(value, dict):
        return {name: drop_nulls(member) for name, member in value.items() if member is not None}
    return value


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
            (path, status, content["examples"][code]["value"])
            for path, status, response in answers
            for content in response.get("content", {}).values()
            if str(code) in content.get("examples", {})
        ]
        assert examples
        of_ours = [(status, example) for path, status, example in examples if path.startswith("/v1/")]
        assert all(found == (CATALOGUE[code].status, drop_nulls(make_example(code))) for found in of_ours)

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
        unlimited = {name for name, value in limits.items() if value is None}
        assert unlimited == {"tenant_open_jobs", "tenant_storage_bytes"}

    def test_is_told_with_the_schema_of_the_result(self, gateway: RunningGateway) -> None:
        schema = gateway.http.get("/v1/schemas/result").json()
        assert {"study_uid", "probability_of_pathology"} <= set(schema["properties"])
