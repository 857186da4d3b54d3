"""A gateway that stops: it finishes what comes in, and lets go who only waits."""

from __future__ import annotations

import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import Engine

from gateway.__main__ import AnnouncedServer, make_server
from shared.database import transaction
from shared.settings import Settings
from shared.tables import Job
from tests.gateway.conftest import ZIP
from tests.stack.running import wait_until

pytestmark = pytest.mark.usefixtures("store")


@contextmanager
def stoppable(settings: Settings) -> Iterator[tuple[AnnouncedServer, int]]:
    """Run a gateway that the block may ask to stop, as SIGTERM does."""
    server = make_server(settings)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started, "the gateway serves")
            yield server, listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(30)


def begin_upload(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(ZIP)}\r\n\r\n".encode()
    connection.sendall(head + ZIP[:10])
    return connection


def read_answer(connection: socket.socket) -> tuple[int, dict[str, object]]:
    answer = b""
    while chunk := connection.recv(65536):
        answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


class TestAStoppingGateway:
    def test_finishes_an_upload_that_has_begun(self, settings: Settings, engine: Engine) -> None:
        with stoppable(settings) as (server, port), begin_upload(port) as connection:
            wait_until(lambda: server.server_state.tasks, "the upload has begun")
            server.should_exit = True
            wait_until(lambda: is_closed(port), "nobody else is let in")
            connection.sendall(ZIP[10:])
            status, job = read_answer(connection)
        assert status == 202
        with transaction(engine) as session:
            assert session.get(Job, uuid.UUID(str(job["id"]))) is not None

    def test_answers_who_waits_for_a_job_and_ends_streams_at_once(self, settings: Settings, engine: Engine) -> None:
        with stoppable(settings) as (server, port), httpx.Client(base_url=f"http://127.0.0.1:{port}") as http:
            job_id = http.post("/v1/jobs", content=ZIP).json()["id"]
            answers: list[int] = []
            threads = [
                threading.Thread(target=wait_for_job, args=(port, answers)),
                threading.Thread(target=listen, args=(port, job_id, answers)),
            ]
            for thread in threads:
                thread.start()
            wait_until(lambda: len(server.server_state.tasks) >= len(threads), "both wait")
            time.sleep(0.3)  # both are past their first look
            begun = time.monotonic()
            server.should_exit = True
            for thread in threads:
                thread.join(30)
            took_s = time.monotonic() - begun
        assert sorted(answers) == [200, 202]
        assert took_s < timedelta(seconds=5).total_seconds()


def wait_for_job(port: int, answers: list[int]) -> None:
    headers = {"Prefer": "wait=60"}
    answers.append(httpx.post(f"http://127.0.0.1:{port}/v1/jobs", content=ZIP, headers=headers, timeout=60).status_code)


def listen(port: int, job_id: str, answers: list[int]) -> None:
    answers.append(httpx.get(f"http://127.0.0.1:{port}/v1/jobs/{job_id}/events", timeout=60).status_code)


def is_closed(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return True
    return False
