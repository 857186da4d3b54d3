"""Erasing a job: nothing of it is left but a certificate."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, func, select, text

from gateway.jobs.erasing import erase_job
from gateway.tenants import Tenant
from shared.artefacts import ArtefactKind
from shared.database import transaction
from shared.settings import Settings
from shared.stages import StageName
from shared.storage import ObjectStore
from shared.tables import Artefact, Base, Job
from tests.gateway.conftest import RunningGateway
from tests.gateway.pipeline import add_masks, finish_job, lease_stage
from tests.stack.running import wait_until
from workers.runtime.lease import renew


def submit(gateway: RunningGateway) -> uuid.UUID:
    return uuid.UUID(gateway.submit()["id"])


def count_rows(engine: Engine, job_id: uuid.UUID) -> int:
    """Count what any table holds of a job, its certificate aside."""
    tables = [table for table in Base.metadata.sorted_tables if "job_id" in table.c and table.name != "erasures"]
    with transaction(engine) as session:
        counts = [session.scalar(select(func.count()).where(table.c.job_id == job_id)) or 0 for table in tables]
        return sum(counts) + (session.scalar(select(func.count()).where(Job.id == job_id)) or 0)


def fetch_keys(engine: Engine, job_id: uuid.UUID) -> set[str]:
    with transaction(engine) as session:
        return set(session.scalars(select(Artefact.key).where(Artefact.job_id == job_id)))


class TestErasing:
    def test_removes_every_object_and_row_and_leaves_a_certificate(
        self, gateway: RunningGateway, engine: Engine, store: ObjectStore
    ) -> None:
        answer = gateway.http.post("/v1/jobs", content=b"PK\x03\x04", headers={"Idempotency-Key": str(uuid.uuid4())})
        job_id = uuid.UUID(answer.json()["id"])
        finish_job(engine, job_id)
        add_masks(engine, store, job_id, b"masks")
        rows, keys = count_rows(engine, job_id), fetch_keys(engine, job_id)
        assert len(keys) == 2
        certificate = gateway.http.delete(f"/v1/jobs/{job_id}").json()
        assert (certificate["objects"], certificate["rows"]) == (2, rows)
        assert count_rows(engine, job_id) == 0
        assert not keys & {key for key, _ in store.iterate_keys()}
        for rest in ("", "/result", "/intake", "/artifacts", "/events", "/deliveries"):
            gone = gateway.http.get(f"/v1/jobs/{job_id}{rest}")
            assert (gone.status_code, gone.json()["code"]) == (410, "erased")
            assert gone.json()["certificate_id"] == certificate["certificate_id"]
        assert gateway.http.delete(f"/v1/jobs/{job_id}").json()["certificate_id"] == certificate["certificate_id"]

    def test_of_a_running_job_cancels_it_and_its_worker_writes_nothing(
        self, gateway: RunningGateway, engine: Engine, settings: Settings
    ) -> None:
        job_id = submit(gateway)
        lease = lease_stage(engine, job_id, StageName.INTAKE)
        assert gateway.http.delete(f"/v1/jobs/{job_id}").status_code == 200
        with transaction(engine) as session:
            assert not renew(session, lease, settings.lease_duration)
        assert count_rows(engine, job_id) == 0

    def test_leaves_an_object_that_another_job_shares(
        self, gateway: RunningGateway, engine: Engine, store: ObjectStore
    ) -> None:
        first, second = submit(gateway), submit(gateway)
        with transaction(engine) as session:
            uploads = {
                row.job_id: row for row in session.scalars(select(Artefact).where(Artefact.job_id.in_((first, second))))
            }
            assert uploads[first].kind is ArtefactKind.UPLOAD
            uploads[second].key = uploads[first].key
        (key,) = fetch_keys(engine, first)
        assert gateway.http.delete(f"/v1/jobs/{first}").json()["objects"] == 0
        assert key in {written for written, _ in store.iterate_keys()}
        assert gateway.http.delete(f"/v1/jobs/{second}").json()["objects"] == 1

    def test_of_another_tenants_job_finds_none(self, gateway: RunningGateway, engine: Engine) -> None:
        job_id = submit(gateway)
        with transaction(engine) as session:
            session.get_one(Job, job_id).tenant = "another"
        assert gateway.http.delete(f"/v1/jobs/{job_id}").json()["code"] == "job_not_found"
        with transaction(engine) as session:
            session.get_one(Job, job_id).tenant = "default"
        gateway.http.delete(f"/v1/jobs/{job_id}")

    @pytest.mark.parametrize("job_id", ["6b0f1f6e-3c55-4d0e-9f6e-0d3b0a7a5a11", "17"])
    def test_of_a_job_that_never_was_finds_none(self, gateway: RunningGateway, job_id: str) -> None:
        assert gateway.http.delete(f"/v1/jobs/{job_id}").json()["code"] == "job_not_found"

    @pytest.mark.parametrize(("method", "rest"), [("DELETE", ""), ("POST", "/cancel"), ("POST", "/retry")])
    def test_is_told_to_who_waited_for_the_job_meanwhile(
        self, gateway: RunningGateway, engine: Engine, store: ObjectStore, method: str, rest: str
    ) -> None:
        job_id = submit(gateway)
        with ThreadPoolExecutor(1) as pool:
            with transaction(engine) as session:
                erasure = erase_job(session, store, Tenant("default"), job_id)
                waiting = pool.submit(gateway.http.request, method, f"/v1/jobs/{job_id}{rest}")
                wait_until(lambda: _is_anybody_waiting(engine), "the other request waits for the job")
            answer = waiting.result()
        assert (answer.status_code, answer.json()["certificate_id"]) == (410, str(erasure.certificate_id))


def _is_anybody_waiting(engine: Engine) -> bool:
    with transaction(engine) as session:
        return bool(session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))
