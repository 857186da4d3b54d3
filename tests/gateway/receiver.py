"""A receiver of webhooks as an integrator would run one: plain HTTP, signatures checked by the public package."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

from tests.loopback import running


@dataclass(frozen=True)
class Message:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def verify(self, secret: str) -> dict[str, Any]:
        """Return the payload. Raises WebhookVerificationError when the secret did not sign it."""
        payload: dict[str, Any] = Webhook(secret).verify(self.body, self.headers)
        return payload


Answer = Callable[[BaseHTTPRequestHandler, Message], None]


@dataclass
class Receiver:
    """What came, and how it is answered: with `status`, or in whatever way `answer` does."""

    port: int
    status: int = 204
    answer: Answer | None = None
    messages: list[Message] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


@contextmanager
def running_receiver(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            message = Message(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            receiver.messages.append(message)
            if receiver.answer is not None:
                receiver.answer(self, message)
                return
            self.send_response(receiver.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the base class has it
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a sender that hung up is what some tests are about

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        # Hands are shaken in the thread of the request: one caller that does not trust us stops no other.
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    receiver = Receiver(server.server_address[1])
    with running(server):
        yield receiver
