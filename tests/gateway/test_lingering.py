"""A refusal that comes before the body has come: the client must see it all the same."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from gateway.lingering import LINGER_BYTES, LINGER_IDLE_S
from shared.byte_units import MIB
from tests.gateway.conftest import UPLOAD_LIMIT_BYTES, ZIP, RunningGateway

FORM = {"Content-Type": "multipart/form-data; boundary=cut"}
BODY_BYTES = 20 * MIB


def make_form(disposition: str) -> bytes:
    head = f"--cut\r\nContent-Disposition: form-data; {disposition}\r\n\r\n"
    return head.encode() + ZIP.ljust(BODY_BYTES, b"\0") + b"\r\n--cut--\r\n"


WRONG_NAME = make_form('name="file"; filename="study.zip"')


def post(gateway: RunningGateway, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    """Send the whole body, then read, as plain clients do."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class TestAClientThatSendsBeforeItReads:
    @pytest.mark.parametrize("repetition", range(3))
    def test_sees_that_the_name_is_wrong(self, gateway: RunningGateway, repetition: int) -> None:
        status, body = post(gateway, "/predict_nifti", WRONG_NAME, FORM)
        assert (status, list(json.loads(body))) == (400, ["detail"])

    @pytest.mark.parametrize(
        ("path", "body", "headers", "expected"),
        [
            ("/v1/jobs", WRONG_NAME, {"Content-Type": "multipart/form-data"}, (400, "malformed_request")),
            ("/v1/jobs", make_form('name="colour"'), FORM, (422, "validation_failed")),
            ("/v1/jobs?x=1", WRONG_NAME, FORM, (422, "validation_failed")),
            ("/v1/jobs", bytes(BODY_BYTES), {}, (415, "not_an_archive")),
            ("/v1/jobs", bytes(BODY_BYTES), {"Idempotency-Key": "é"}, (400, "idempotency_key_invalid")),
            ("/v1/jobs", ZIP.ljust(UPLOAD_LIMIT_BYTES + 1, b"\0"), {}, (413, "upload_too_large")),
            ("/nothing/here", bytes(BODY_BYTES), {}, (404, "not_found")),
            ("/v1/limits", bytes(BODY_BYTES), {}, (405, "method_not_allowed")),
        ],
    )
    def test_sees_any_other_early_refusal(
        self, gateway: RunningGateway, path: str, body: bytes, headers: dict[str, str], expected: tuple[int, str]
    ) -> None:
        status, answer = post(gateway, path, body, headers)
        assert (status, json.loads(answer)["code"]) == expected

    @pytest.mark.parametrize("size_bytes", [MIB // 2, BODY_BYTES])
    def test_and_closes_sees_it_too(self, gateway: RunningGateway, size_bytes: int) -> None:
        request = urllib.request.Request(f"{gateway.url}/nothing/here", bytes(size_bytes))
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=60)
        with refused.value as answer:
            assert (answer.code, json.loads(answer.read())["code"]) == (404, "not_found")

    def test_without_a_length_sees_it_too(self, gateway: RunningGateway) -> None:
        def iterate() -> Iterator[bytes]:
            for _ in range(20):
                yield bytes(MIB)

        answer = gateway.http.post("/nothing/here", content=iterate())
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


class TestARefusedClient:
    def ask(self, gateway: RunningGateway, head: str) -> tuple[bytes, float]:
        """Send a head and no body, read until the server closes; return the answer and the seconds it took."""
        started = time.monotonic()
        with gateway.connect() as connection:
            connection.sendall(f"POST /nothing/here HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode())
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
        return answer, time.monotonic() - started

    def test_that_stops_sending_is_answered_at_once_and_given_up(self, gateway: RunningGateway) -> None:
        with gateway.connect() as connection:
            connection.sendall(
                f"POST /nothing/here HTTP/1.1\r\nHost: localhost\r\nContent-Length: {BODY_BYTES}\r\n\r\n".encode()
            )
            started = time.monotonic()
            assert connection.recv(65536).startswith(b"HTTP/1.1 404 ")
            assert time.monotonic() - started < LINGER_IDLE_S / 2
            while connection.recv(65536):
                pass
            assert LINGER_IDLE_S - 1 < time.monotonic() - started < LINGER_IDLE_S * 2

    @pytest.mark.parametrize(
        "head",
        [f"Content-Length: {LINGER_BYTES + 1}\r\n", f"Content-Length: {BODY_BYTES}\r\nExpect: 100-continue\r\n"],
        ids=["that announces too much", "that asks before it sends"],
    )
    def test_is_not_waited_for(self, gateway: RunningGateway, head: str) -> None:
        answer, seconds = self.ask(gateway, head)
        assert answer.startswith(b"HTTP/1.1 404 ")
        assert seconds < LINGER_IDLE_S / 2
