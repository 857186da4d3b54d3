"""Submissions that there is no room for: refused before their bytes are read, told when to come back, nothing left."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from shared.database import transaction
from shared.endings import end_job, lock_open_job
from shared.queue_tables import TenantUsage
from shared.settings import Settings
from shared.states import JobState
from shared.tables import Job
from tests.gateway.conftest import NOTHING, ZIP, RunningGateway, running_gateway

# Tests come in random order, and the gateway of a test makes neither tables nor bucket.
pytestmark = pytest.mark.usefixtures("engine", "store")

Leftovers = Callable[[], tuple[set[str], int]]


@pytest.fixture
def idle(engine: Engine) -> None:
    """End the open jobs of other tests."""
    with transaction(engine) as session:
        open_ids = session.scalars(select(Job.id).where(Job.finished_at.is_(None))).all()
    for job_id in open_ids:
        cancel(engine, job_id)


def cancel(engine: Engine, job_id: uuid.UUID) -> None:
    with transaction(engine) as session:
        job = lock_open_job(session, job_id)
        assert job is not None
        end_job(session, job, JobState.CANCELLED)


def fill(engine: Engine) -> None:
    with transaction(engine) as session:
        session.merge(TenantUsage(tenant="default", stored_bytes=2**40))


@pytest.mark.usefixtures("idle")
class TestAFullQueue:
    def test_refuses_what_comes_and_takes_in_again_once_a_job_has_ended(
        self, settings: Settings, engine: Engine, leftovers: Leftovers
    ) -> None:
        with running_gateway(settings.model_copy(update={"queue_limit": 2})) as gateway:
            jobs = [gateway.submit()["id"] for _ in range(2)]
            refused = gateway.http.post("/v1/jobs", content=ZIP)
            assert (refused.status_code, refused.json()["code"], refused.json()["limit"]) == (503, "queue_full", 2)
            assert refused.headers["retry-after"] == "30"
            assert leftovers() == (set(), 2)
            cancel(engine, uuid.UUID(jobs[0]))
        with running_gateway(settings.model_copy(update={"queue_limit": 2})) as gateway:
            gateway.submit()

    def test_answers_a_repeated_request_that_was_taken_in_before(self, settings: Settings) -> None:
        key = {"Idempotency-Key": uuid.uuid4().hex}
        with running_gateway(settings.model_copy(update={"queue_limit": 1})) as gateway:
            first = gateway.submit(ZIP, **key)
            assert gateway.submit(ZIP, **key)["id"] == first["id"]
            other = gateway.http.post("/v1/jobs", content=ZIP, headers={"Idempotency-Key": uuid.uuid4().hex})
            assert other.status_code == 503

    def test_of_one_tenant_is_told_as_its_own(self, settings: Settings) -> None:
        with running_gateway(settings.model_copy(update={"tenant_queue_limit": 1})) as gateway:
            gateway.submit()
            refused = gateway.http.post("/v1/jobs", content=ZIP)
        assert (refused.status_code, refused.json()["code"]) == (429, "tenant_queue_full")


@pytest.mark.usefixtures("idle")
class TestAFullTenant:
    @pytest.fixture
    def limited(self, settings: Settings, engine: Engine) -> Iterator[RunningGateway]:
        """A gateway that has room for eight bytes more."""
        with transaction(engine) as session:
            session.merge(TenantUsage(tenant="default", stored_bytes=2**40 - 8))
        with running_gateway(settings.model_copy(update={"tenant_storage_limit_bytes": 2**40})) as gateway:
            yield gateway

    def test_hears_so_before_it_sends_what_would_not_fit(self, limited: RunningGateway, engine: Engine) -> None:
        refused = limited.http.post("/v1/uploads", json={"size_bytes": 9})
        assert (refused.status_code, refused.json()["code"]) == (429, "tenant_storage_full")
        fill(engine)
        with running_gateway(limited.settings) as full:
            refused = full.http.post("/v1/jobs", content=ZIP)
        assert (refused.status_code, refused.json()["code"]) == (429, "tenant_storage_full")

    def test_finishes_and_submits_an_upload_whose_own_bytes_filled_it(
        self, limited: RunningGateway, engine: Engine
    ) -> None:
        begun = limited.http.post("/v1/uploads", json={"size_bytes": 8}).json()["id"]
        fill(engine)
        with running_gateway(limited.settings) as full:
            answers = [
                full.http.put(f"/v1/uploads/{begun}/parts/1", content=ZIP[:8]),
                full.http.post(f"/v1/uploads/{begun}/complete"),
                full.http.post("/v1/jobs", json={"upload_id": begun}),
            ]
        assert [each.status_code for each in answers] == [200, 200, 202], [each.text for each in answers]


class TestAFullDisk:
    def test_refuses_studies_and_new_uploads(self, settings: Settings, tmp_path: Path, leftovers: Leftovers) -> None:
        full = {"storage_watch_dir": tmp_path, "storage_reserve_bytes": 2**60}
        with running_gateway(settings.model_copy(update=full)) as gateway:
            answers = [
                gateway.http.post("/v1/jobs", content=ZIP),
                gateway.http.post("/v1/uploads", json={"size_bytes": 7}),
            ]
        assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(507, "no_space")] * 2
        assert all(int(answer.headers["retry-after"]) > 0 for answer in answers)
        assert leftovers() == NOTHING

    def test_refuses_parts_of_an_upload_that_was_begun(
        self, settings: Settings, gateway: RunningGateway, tmp_path: Path
    ) -> None:
        path = gateway.http.post("/v1/uploads", json={"size_bytes": 7}).json()["id"]
        full = {"storage_watch_dir": tmp_path, "storage_reserve_bytes": 2**60}
        with running_gateway(settings.model_copy(update=full)) as other:
            refused = other.http.put(f"/v1/uploads/{path}/parts/1", content=ZIP[:7])
        assert (refused.status_code, refused.json()["code"]) == (507, "no_space")

    def test_with_room_takes_them_in(self, settings: Settings, tmp_path: Path) -> None:
        room = {"storage_watch_dir": tmp_path, "storage_reserve_bytes": 1}
        with running_gateway(settings.model_copy(update=room)) as gateway:
            gateway.submit()

    @pytest.mark.parametrize("folder", [None, Path("/nowhere")])
    def test_of_a_gateway_that_sees_none_is_nobodys(self, settings: Settings, folder: Path | None) -> None:
        blind = {"storage_watch_dir": folder, "storage_reserve_bytes": 2**60}
        with running_gateway(settings.model_copy(update=blind)) as gateway:
            gateway.submit()
