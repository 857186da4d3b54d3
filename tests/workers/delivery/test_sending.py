"""One try: where it connects to, what it takes for success, and how little it can be held up."""

from __future__ import annotations

import asyncio
import ipaddress
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from shared.callback_urls import CallbackUrl, IpAddress
from tests.gateway.receiver import Message, Receiver, running_receiver
from workers.delivery import sending
from workers.delivery.sending import BODY_KEPT_CHARACTERS, Outcome, Sender

ALLOWED = (ipaddress.ip_network("127.0.0.0/8"),)
LIMIT_S = 2.0
TRUST_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as running:
        yield running


def send(
    url: str, *, limit_s: float = LIMIT_S, is_allowed: bool = True, trust: ssl.SSLContext = TRUST_NOBODY
) -> Outcome:
    sender = Sender(ALLOWED if is_allowed else (), limit_s, trust)
    return asyncio.run(sender.send(url, b"{}", {"webhook-id": "1"}))


class TestAReceiver:
    def test_is_reached_at_the_address_vetted_under_the_name_written(self, receiver: Receiver) -> None:
        outcome = send(f"http://localhost:{receiver.port}/a/b?c=%2F&d")
        assert (outcome.status_code, outcome.is_delivered, outcome.error) == (204, True, None)
        (message,) = receiver.messages
        assert message.path == "/a/b?c=%2F&d"
        assert message.headers["host"] == f"localhost:{receiver.port}"

    def test_that_redirects_has_not_taken_the_message(self, receiver: Receiver) -> None:
        def redirect(handler: BaseHTTPRequestHandler, _: Message) -> None:
            handler.send_response(302)
            handler.send_header("location", f"{receiver.url}/elsewhere")
            handler.end_headers()

        receiver.answer = redirect
        outcome = send(receiver.url)
        assert (outcome.status_code, outcome.is_delivered) == (302, False)
        assert len(receiver.messages) == 1

    def test_that_never_answers_is_given_up_in_time(self, receiver: Receiver) -> None:
        receiver.answer = lambda _handler, _message: time.sleep(3)
        began = time.monotonic()
        assert send(receiver.url, limit_s=0.3).error == "timeout"
        assert time.monotonic() - began < 2.5

    def test_that_drips_its_answer_is_given_up_in_time(self, receiver: Receiver) -> None:
        def drip(handler: BaseHTTPRequestHandler, _: Message) -> None:
            for letter in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 100:
                handler.wfile.write(bytes([letter]))
                time.sleep(0.03)

        receiver.answer = drip
        assert send(receiver.url, limit_s=0.5).error == "timeout"

    def test_that_answers_without_end_is_read_to_a_limit(self, receiver: Receiver) -> None:
        def flood(handler: BaseHTTPRequestHandler, _: Message) -> None:
            handler.send_response(200)
            handler.end_headers()
            with suppress(OSError):  # the sender hangs up
                while True:
                    handler.wfile.write(b"\x00a\n" * 20_000)

        receiver.answer = flood
        outcome = send(receiver.url)
        assert outcome.is_delivered
        assert outcome.response_body is not None
        assert len(outcome.response_body) == BODY_KEPT_CHARACTERS
        assert "\x00" not in outcome.response_body

    def test_that_is_not_there_is_named_as_such(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        assert send(f"http://127.0.0.1:{port}/").error == "connection_failed"

    def test_that_speaks_something_else_is_named_as_such(self, receiver: Receiver) -> None:
        def speak_another_protocol(handler: BaseHTTPRequestHandler, _: Message) -> None:
            handler.wfile.write(b"+OK ready\r\n")

        receiver.answer = speak_another_protocol
        assert send(receiver.url).error == "no_answer"

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    def test_inside_is_not_even_connected_to_unless_allowed(self, receiver: Receiver, host: str) -> None:
        outcome = send(f"https://{host}:{receiver.port}/", is_allowed=False)
        assert outcome.error == "not_allowed: internal_address"
        assert receiver.messages == []


class TestANameThatFlips:
    def test_leads_to_the_address_that_was_vetted_and_is_looked_up_once(
        self, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []

        async def resolve(url: CallbackUrl) -> Sequence[IpAddress]:  # a name server is of the outside world
            asked.append(url.host)
            return [ipaddress.ip_address("127.0.0.1" if len(asked) == 1 else "10.0.0.1")]

        monkeypatch.setattr(sending, "resolve", resolve)
        assert send(f"http://flips.example.org:{receiver.port}/").is_delivered
        assert asked == ["flips.example.org"]
        assert receiver.messages[0].headers["host"] == f"flips.example.org:{receiver.port}"
        assert send(f"http://flips.example.org:{receiver.port}/").error == "not_allowed: internal_address"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
class TestTls:
    def test_is_verified_by_the_name_written_not_by_the_address(self, tmp_path: Path) -> None:
        certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
        arguments = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
        named = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        files = ["-keyout", str(key), "-out", str(certificate)]
        subprocess.run(["openssl", "req", *arguments, *named, *files], check=True, capture_output=True)
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(certificate, key)
        trust = ssl.create_default_context(cafile=certificate)
        with running_receiver(serving) as receiver:
            assert send(f"https://localhost:{receiver.port}/", trust=trust).is_delivered
            assert send(f"https://127.0.0.1:{receiver.port}/", trust=trust).error == "tls_failed"
            assert send(f"https://localhost:{receiver.port}/").error == "tls_failed"
        assert len(receiver.messages) == 1
