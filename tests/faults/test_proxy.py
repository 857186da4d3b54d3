"""The proxy does what the fault matrix believes of it."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from tests.faults.proxy import Conditions, Proxy, proxy_to
from tests.loopback import running

BODY = bytes(range(256)) * 1024


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with running(server), proxy_to(server.server_port) as proxy:
        yield proxy


def fetch(proxy: Proxy, limit_s: float = 10.0) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{proxy.own_port}/", timeout=limit_s)


class TestProxy:
    def test_lets_everything_pass_by_itself(self, proxy: Proxy) -> None:
        assert fetch(proxy).content == BODY

    def test_refuses(self, proxy: Proxy) -> None:
        with proxy.under(Conditions(refuses=True)), pytest.raises(httpx.TransportError):
            fetch(proxy)

    def test_fails(self, proxy: Proxy) -> None:
        with proxy.under(Conditions(fails=True)):
            assert fetch(proxy).status_code == 500

    def test_hangs(self, proxy: Proxy) -> None:
        with proxy.under(Conditions(hangs=True)), pytest.raises(httpx.ReadTimeout):
            fetch(proxy, 0.3)

    def test_starves(self, proxy: Proxy) -> None:
        with proxy.under(Conditions(answer_bytes_per_s=len(BODY) * 2)):
            assert 0.3 < fetch(proxy).elapsed.total_seconds() < 5

    def test_truncates(self, proxy: Proxy) -> None:
        with proxy.under(Conditions(answer_limit_bytes=10_000)), pytest.raises(httpx.RemoteProtocolError):
            fetch(proxy)

    def test_changes_bits(self, proxy: Proxy) -> None:
        with proxy.under(Conditions(changes_answers=True)):
            answer = fetch(proxy)
        assert len(answer.content) == len(BODY)
        assert answer.content != BODY

    def test_clears_up_afterwards(self, proxy: Proxy) -> None:
        with proxy.under(Conditions(fails=True)):
            fetch(proxy)
        assert fetch(proxy).status_code == 200
