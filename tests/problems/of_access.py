"""Requests that a gateway refuses because of who asks, or how often."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

from gateway.access.keys import make_key
from gateway.access.repository import add_key
from gateway.access.scopes import ALL_SCOPES, Scope
from shared.database import transaction
from shared.problems import ProblemCode
from shared.settings import Authentication
from tests.gateway.conftest import ZIP, RunningGateway, running_gateway
from tests.problems.bench import Bench, Document, Generator, read_json

_KEYS = "/v1/api-keys"
_TOKEN = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.e30.eA"  # {"alg":"RS256","kid":"1"}, and nothing else


@contextmanager
def _guarded(bench: Bench, **settings: object) -> Iterator[RunningGateway]:
    asked = {"authentication": Authentication.REQUIRED, **settings}
    with running_gateway(bench.settings.model_copy(update=asked)) as gateway:
        yield gateway


def _make_headers(bench: Bench, *scopes: Scope, tenant: str = "default") -> dict[str, str]:
    key = make_key()
    with transaction(bench.engine) as session:
        add_key(session, key, tenant=tenant, name="bench", scopes=scopes or ALL_SCOPES, created_by="command")
    return {"Authorization": f"Bearer {key.text}"}


def _ask_without_a_key(bench: Bench) -> Document:
    with _guarded(bench) as gateway:
        return read_json(gateway.http.get("/v1/jobs"))


def _ask_with_an_unknown_key(bench: Bench) -> Document:
    with _guarded(bench) as gateway:
        return read_json(gateway.http.get("/v1/jobs", headers={"Authorization": f"Bearer {make_key().text}"}))


def _submit_with_a_reading_key(bench: Bench) -> Document:
    with _guarded(bench) as gateway:
        return read_json(gateway.http.post("/v1/jobs", content=ZIP, headers=_make_headers(bench, Scope.JOBS_READ)))


def _make_a_key_for_another_tenant(bench: Bench) -> Document:
    body = {"name": "n", "scopes": ["jobs:read"], "tenant": "ward-b"}
    with _guarded(bench) as gateway:
        return read_json(gateway.http.post(_KEYS, json=body, headers=_make_headers(bench, tenant="ward-a")))


def _ask_too_often(bench: Bench) -> Document:
    headers = _make_headers(bench)
    with _guarded(bench, rate_limit_per_minute=1, rate_limit_burst=1) as gateway:
        gateway.http.get("/v1/limits", headers=headers)
        return read_json(gateway.http.get("/v1/limits", headers=headers))


def _send_too_many_bodies(bench: Bench) -> Document:
    headers = _make_headers(bench)
    head = (
        f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: {headers['Authorization']}\r\n"
        "Content-Length: 999\r\nExpect: 100-continue\r\n\r\n"
    )
    with (
        _guarded(bench, tenant_upload_concurrency=1, tenant_upload_patience=timedelta(0)) as gateway,
        gateway.connect() as slow,
    ):
        slow.sendall(head.encode())
        assert slow.recv(100).startswith(b"HTTP/1.1 100 ")  # its body is being taken in
        return read_json(gateway.http.post("/v1/jobs", content=ZIP, headers=headers))


def _bring_a_token_of_a_silent_provider(bench: Bench) -> Document:
    issuer = f"http://127.0.0.1:{bench.closed_port}"
    with _guarded(bench, oidc_issuer=issuer, oidc_audience="ctclip") as gateway:
        return read_json(gateway.http.get("/v1/jobs", headers={"Authorization": f"Bearer {_TOKEN}"}))


def _call_by_a_strange_name(bench: Bench) -> Document:
    return read_json(bench.gateway.http.get("/v1/jobs", headers={"Host": "reader.example.org"}))


GENERATORS: Mapping[ProblemCode, Generator] = {
    ProblemCode.HOST_NOT_ALLOWED: _call_by_a_strange_name,
    ProblemCode.AUTHENTICATION_REQUIRED: _ask_without_a_key,
    ProblemCode.CREDENTIALS_INVALID: _ask_with_an_unknown_key,
    ProblemCode.INSUFFICIENT_SCOPE: _submit_with_a_reading_key,
    ProblemCode.TENANT_FORBIDDEN: _make_a_key_for_another_tenant,
    ProblemCode.API_KEY_NOT_FOUND: lambda bench: bench.get(f"{_KEYS}/{uuid.uuid4()}"),
    ProblemCode.RATE_LIMITED: _ask_too_often,
    ProblemCode.TENANT_UPLOADS_BUSY: _send_too_many_bodies,
    ProblemCode.IDENTITY_PROVIDER_UNAVAILABLE: _bring_a_token_of_a_silent_provider,
}
