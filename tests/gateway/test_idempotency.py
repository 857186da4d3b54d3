"""Idempotency-Key on a real database: one job a key, whatever comes at the same instant."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import httpx
import pytest
from sqlalchemy import Engine, func

from gateway.jobs.idempotency import RESERVED_FOR, Reservation, renew, reserve
from gateway.tenants import Tenant
from shared.database import transaction
from shared.tables import IdempotencyKey
from tests.gateway.conftest import ZIP, RunningGateway

Leftovers = Callable[[], tuple[set[str], int]]
THREADS = 20
TIMES = 5


def submit(gateway: RunningGateway, key: str | None, content: bytes = ZIP, **fields: str) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    files = {"file": ("study.zip", content)}
    return gateway.http.post("/v1/jobs", files=files, data=fields, headers=headers)


def add_reservation(engine: Engine, *, lapses_in: timedelta) -> str:
    key = str(uuid.uuid4())
    with transaction(engine) as session:
        session.add(
            IdempotencyKey(tenant="default", key=key, reservation=uuid.uuid4(), reserved_until=func.now() + lapses_in)
        )
    return key


class TestAStorm:
    def test_with_one_key_makes_one_job(self, gateway: RunningGateway, leftovers: Leftovers) -> None:
        key, together = str(uuid.uuid4()), threading.Barrier(THREADS)

        def submit_again_and_again(_: int) -> list[httpx.Response]:
            together.wait(30)
            return [submit(gateway, key) for _ in range(TIMES)]

        with ThreadPoolExecutor(THREADS) as pool:
            answers = [answer for found in pool.map(submit_again_and_again, range(THREADS)) for answer in found]
        accepted = [answer for answer in answers if answer.status_code == 202]
        refused = [answer for answer in answers if answer.status_code != 202]
        assert {answer.json()["code"] for answer in refused} <= {"idempotency_key_in_flight"}
        assert all("retry-after" in answer.headers for answer in refused)
        assert len({answer.text for answer in accepted}) == 1
        assert sum("idempotent-replayed" not in answer.headers for answer in accepted) == 1
        assert leftovers() == (set(), 1)

    def test_without_a_key_makes_a_job_each(self, gateway: RunningGateway, leftovers: Leftovers) -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            answers = list(pool.map(lambda _: submit(gateway, None), range(THREADS * TIMES)))
        assert len({answer.json()["id"] for answer in answers}) == THREADS * TIMES
        assert leftovers() == (set(), THREADS * TIMES)


class TestARepeatedKey:
    def test_with_the_same_payload_gets_the_first_answer(self, gateway: RunningGateway, leftovers: Leftovers) -> None:
        key = str(uuid.uuid4())
        first, second = submit(gateway, key, priority="7"), submit(gateway, key, priority="7")
        assert (first.status_code, second.status_code) == (202, 202)
        assert (first.text, first.headers["location"]) == (second.text, second.headers["location"])
        assert "idempotent-replayed" not in first.headers
        assert second.headers["idempotent-replayed"] == "true"
        assert leftovers() == (set(), 1)

    @pytest.mark.parametrize("change", ["body", "options"])
    def test_with_another_payload_is_refused(self, gateway: RunningGateway, leftovers: Leftovers, change: str) -> None:
        key = str(uuid.uuid4())
        submit(gateway, key)
        again = submit(gateway, key, ZIP + b"!") if change == "body" else submit(gateway, key, priority="1")
        assert (again.status_code, again.json()["code"]) == (422, "idempotency_key_reused")
        assert leftovers() == (set(), 1)

    def test_whose_first_request_was_refused_is_free_again(self, gateway: RunningGateway) -> None:
        key = str(uuid.uuid4())
        assert submit(gateway, key, b"no archive").status_code == 415
        assert submit(gateway, key).status_code == 202


class TestAReservation:
    def test_in_flight_is_told_when_to_come_back(self, gateway: RunningGateway, engine: Engine) -> None:
        answer = submit(gateway, add_reservation(engine, lapses_in=timedelta(minutes=1)))
        assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_key_in_flight")
        assert int(answer.headers["retry-after"]) >= 1

    def test_of_a_gateway_that_was_killed_lapses_when_the_page_of_the_problem_says(
        self, gateway: RunningGateway
    ) -> None:
        page = gateway.http.get("/v1/problems/idempotency_key_in_flight", headers={"Accept": "text/html"}).text
        assert f"free after {RESERVED_FOR.seconds} s" in page

    def test_of_a_request_that_died_lapses(self, gateway: RunningGateway, engine: Engine) -> None:
        answer = submit(gateway, add_reservation(engine, lapses_in=timedelta(seconds=-1)))
        assert answer.status_code == 202

    def test_that_was_taken_over_makes_no_second_job(
        self, gateway: RunningGateway, engine: Engine, leftovers: Leftovers
    ) -> None:
        key = str(uuid.uuid4())
        head = f"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: {key}\r\nContent-Length: {len(ZIP)}\r\n"
        with gateway.connect() as connection:
            connection.sendall(f"{head}Connection: close\r\n\r\n".encode() + ZIP[:-1])
            take_over(engine, key)
            connection.sendall(ZIP[-1:])
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert b"idempotency_key_in_flight" in answer
        assert leftovers() == (set(), 0)

    def test_is_held_for_longer_while_its_upload_comes(self, engine: Engine) -> None:
        key = str(uuid.uuid4())
        with transaction(engine) as session:
            reservation = reserve(session, Tenant("default"), key)
        assert isinstance(reservation, Reservation)
        until = fetch_end(engine, key)
        with transaction(engine) as session:
            renew(session, reservation)
        assert fetch_end(engine, key) > until


def fetch_end(engine: Engine, key: str) -> datetime:
    with transaction(engine) as session:
        return session.get_one(IdempotencyKey, ("default", key)).reserved_until


def take_over(engine: Engine, key: str) -> None:
    """Give the key to another request, as if ours had stalled for longer than its reservation."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with transaction(engine) as session:
            row = session.get(IdempotencyKey, ("default", key), with_for_update=True)
            if row is not None:
                row.reservation = uuid.uuid4()
                return
    raise AssertionError("the key was never reserved")


class TestAKeyThatCannotBeUsed:
    @pytest.mark.parametrize("key", ["", "k" * 256, "k" * 10_240, "sch\u00f6n", "a\tb"])
    def test_is_refused_and_never_repeated(self, gateway: RunningGateway, key: str) -> None:
        headers = {"Idempotency-Key": key.encode("latin-1")}
        answer = gateway.http.post("/v1/jobs", content=ZIP, headers=headers)  # type: ignore[arg-type]  # raw bytes
        assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_invalid")
        assert not key or key not in answer.text + str(answer.headers)

    def test_sent_twice_is_refused(self, gateway: RunningGateway) -> None:
        answer = gateway.http.post(
            "/v1/jobs", content=ZIP, headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
        )
        assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_invalid")

    def test_with_a_line_break_in_it_reaches_no_header(self, gateway: RunningGateway) -> None:
        head = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: a\rSet-Cookie: b\r\n"
        with gateway.connect() as connection:
            connection.sendall(head + b"Content-Length: 0\r\n\r\n")
            answer = connection.recv(65536)
        assert b" 400 " in answer.split(b"\r\n")[0]
        assert b"set-cookie" not in answer.lower()
