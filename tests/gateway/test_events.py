"""What happens to a job, listed and streamed."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, update

from shared.database import transaction
from shared.endings import lock_open_job
from shared.events import record_stage_progress
from shared.settings import Settings
from shared.stages import StageName
from shared.tables import Job
from tests.gateway.conftest import RunningGateway, running_gateway
from tests.gateway.event_stream import Stream, name_events
from tests.gateway.pipeline import complete_intake, finish_job, lease_stage

JSON = {"Accept": "application/json"}


def submit(gateway: RunningGateway) -> uuid.UUID:
    return uuid.UUID(gateway.submit()["id"])


@contextmanager
def listening(gateway: RunningGateway, job_id: uuid.UUID, after: str | None = None) -> Iterator[Stream]:
    headers = {} if after is None else {"Last-Event-ID": after}
    with gateway.http.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as answer:
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        yield Stream(answer)


class TestAStream:
    def test_tells_everything_from_the_beginning_and_ends_with_the_job(
        self, gateway: RunningGateway, engine: Engine
    ) -> None:
        job_id = submit(gateway)
        with listening(gateway, job_id) as stream:
            first = stream.read()
            assert first is not None
            assert first["data"] | {"at": ""} == {
                "job_id": str(job_id),
                "stage": None,
                "state": "queued",
                "progress": None,
                "at": "",
            }
            finish_job(engine, job_id)
            told = name_events([first, *stream.read_all()])
        assert told[0] == ("job.state", None, "queued")
        assert told[-1] == ("job.state", None, "completed_partial")
        assert ("stage.state", "intake", "succeeded") in told
        assert told.index(("stage.state", "mednext", "succeeded")) < told.index(("stage.state", "fusion", "ready"))

    def test_goes_on_behind_the_last_event_received_also_at_another_gateway(
        self, gateway: RunningGateway, engine: Engine, settings: Settings
    ) -> None:
        job_id = submit(gateway)
        with listening(gateway, job_id) as stream:
            seen = [stream.read(), stream.read()]
        finish_job(engine, job_id)
        last = seen[-1]
        assert last is not None
        with running_gateway(settings) as other, listening(other, job_id, after=last["id"]) as stream:
            rest = stream.read_all()
        with listening(gateway, job_id) as stream:
            assert [*seen, *rest] == stream.read_all()
        ids = [int(event["id"]) for event in [*seen, *rest] if event is not None]
        assert ids == sorted(set(ids))

    def test_of_a_job_that_told_everything_is_not_opened_again(self, gateway: RunningGateway, engine: Engine) -> None:
        job_id = submit(gateway)
        finish_job(engine, job_id)
        with listening(gateway, job_id) as stream:
            last = stream.read_all()[-1]["id"]
        answer = gateway.http.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": last})
        assert (answer.status_code, answer.content) == (204, b"")

    def test_tells_progress_while_it_happens(self, gateway: RunningGateway, engine: Engine) -> None:
        job_id = submit(gateway)
        lease_stage(engine, job_id, StageName.INTAKE)
        with listening(gateway, job_id) as stream:
            with transaction(engine) as session:
                lock_open_job(session, job_id)
                record_stage_progress(session, job_id, StageName.INTAKE, 0.25)
            event = stream.read()
            while event is not None and event["event"] != "stage.progress":
                event = stream.read()
        assert event is not None
        assert (event["data"]["stage"], event["data"]["progress"]) == ("intake", 0.25)

    def test_sends_comments_while_nothing_happens(self, gateway: RunningGateway, settings: Settings) -> None:
        job_id = submit(gateway)
        hasty = settings.model_copy(update={"event_heartbeat": timedelta(seconds=0.1)})
        with running_gateway(hasty) as other, listening(other, job_id) as stream:
            stream.wait_for_comment()

    def test_is_one_of_a_limited_number_until_it_is_closed(self, gateway: RunningGateway, settings: Settings) -> None:
        job_id = submit(gateway)
        few = settings.model_copy(update={"event_streams_limit": 2})
        with running_gateway(few) as other:
            with listening(other, job_id) as one, listening(other, job_id) as two:
                assert one.read() == two.read()
                refused = other.http.get(f"/v1/jobs/{job_id}/events")
                assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
                assert int(refused.headers["retry-after"]) > 0
            for _ in range(3):
                with listening_once_free(other, job_id) as stream:
                    assert stream.read() is not None

    def test_of_many_listeners_tells_all_the_same(self, gateway: RunningGateway, engine: Engine) -> None:
        job_id = submit(gateway)
        told: list[list[dict[str, Any]]] = []

        def listen() -> None:
            with listening(gateway, job_id) as stream:
                told.append(stream.read_all())

        threads = [threading.Thread(target=listen) for _ in range(8)]
        for thread in threads:
            thread.start()
        finish_job(engine, job_id)
        for thread in threads:
            thread.join(60)
        assert len(told) == len(threads)
        assert all(one == told[0] for one in told)

    @pytest.mark.parametrize("value", ["-1", "abc", "1.5", "9" * 30, "0" * 20 + "9" * 20])
    def test_behind_what_is_no_event_is_refused(self, gateway: RunningGateway, value: str) -> None:
        answer = gateway.http.get(f"/v1/jobs/{submit(gateway)}/events", headers={"Last-Event-ID": value})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/Last-Event-ID")

    def test_of_another_tenants_job_is_not_opened(self, gateway: RunningGateway, engine: Engine) -> None:
        job_id = submit(gateway)
        with transaction(engine) as session:
            session.execute(update(Job).where(Job.id == job_id).values(tenant="another"))
        for headers in ({}, JSON):
            answer = gateway.http.get(f"/v1/jobs/{job_id}/events", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


@contextmanager
def listening_once_free(gateway: RunningGateway, job_id: uuid.UUID) -> Iterator[Stream]:
    """Listen as soon as the gateway has noticed that an earlier listener left."""
    while gateway.http.get("/v1/limits").is_success:
        with gateway.http.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
            if answer.status_code == 200:
                yield Stream(answer)
                return


class TestAList:
    def test_is_walked_page_by_page(self, gateway: RunningGateway, engine: Engine) -> None:
        job_id = submit(gateway)
        complete_intake(engine, job_id)
        path = f"/v1/jobs/{job_id}/events"
        whole = gateway.http.get(path, headers=JSON).json()
        assert whole["next_cursor"] is None
        assert whole["items"][0]["event"] == "job.state"
        seen: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            page = gateway.http.get(f"{path}?limit=2{cursor and f'&cursor={cursor}'}", headers=JSON).json()
            seen += page["items"]
            cursor = page["next_cursor"]
        assert seen == whole["items"]
