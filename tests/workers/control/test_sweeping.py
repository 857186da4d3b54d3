"""Orphans and sizes: what no row names goes when it is old, and what tenants store is added up."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, func, select, update

from shared.database import SWEEP_LOCK, holding_lock, transaction
from shared.queue_tables import TenantUsage
from shared.settings import Settings
from shared.storage import ObjectStore
from shared.tables import Artefact, Job
from shared.upload_tables import Upload, UploadPart
from tests.workers.control.own_database import own_database
from tests.workers.runtime.conftest import JobMaker, make_job
from workers.control import sweeper
from workers.control.usage import TenantUsages

__all__ = ["make_job"]  # the fixture of the runtime's tests serves here too


@pytest.fixture(scope="module")
def engine(settings: Settings) -> Iterator[Engine]:
    with own_database(settings) as (_, engine):
        yield engine


class OldStore(ObjectStore):
    """Storage whose objects were all written long ago, but for those that end with `new`."""

    def iterate_keys(self) -> Iterator[tuple[str, datetime]]:
        for key, _ in super().iterate_keys():
            age = timedelta(0) if key.startswith("new/") else 2 * sweeper.ORPHAN_AGE
            yield key, datetime.now(UTC) - age


class TestTheSweep:
    def test_removes_old_objects_that_no_row_names(
        self, engine: Engine, settings: Settings, make_job: JobMaker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sweeper, "_LOOKED_UP_AT_ONCE", 2)
        store = OldStore(settings.model_copy(update={"storage_bucket": f"sweep-{uuid.uuid4().hex[:8]}"}))
        store.ensure_bucket()
        orphans = [store.write_bytes(b"x", prefix="old").key for _ in range(3)]
        named = store.write_bytes(b"x", prefix="old").key
        young = store.write_bytes(b"x", prefix="new").key
        with transaction(engine) as session:
            session.execute(update(Artefact).where(Artefact.job_id == make_job()).values(key=named))
        with holding_lock(engine, SWEEP_LOCK):  # as while a backup is put back, whose rows come last
            assert sweeper.sweep(engine, store) == 0
        assert sweeper.sweep(engine, store) == len(orphans)
        assert {key for key, _ in store.iterate_keys()} == {named, young}


class TestSizes:
    def test_of_a_tenant_are_added_up_and_forgotten_with_its_last_artefact(
        self, engine: Engine, make_job: JobMaker
    ) -> None:
        job_id, tenant = make_job(), uuid.uuid4().hex
        with transaction(engine) as session:
            session.execute(update(Job).where(Job.id == job_id).values(tenant=tenant))
            session.execute(update(Artefact).where(Artefact.job_id == job_id).values(size_bytes=2**40))
        TenantUsages(engine).add_up()
        assert fetch_usage(engine, tenant) == 2**40
        with transaction(engine) as session:
            session.query(Artefact).where(Artefact.job_id == job_id).delete()
        TenantUsages(engine).add_up()
        assert fetch_usage(engine, tenant) is None

    def test_of_uploads_that_are_no_job_yet_count_too(self, engine: Engine) -> None:
        tenant, soon = uuid.uuid4().hex, func.now() + timedelta(hours=1)
        sizes = {"tenant": tenant, "size_bytes": 300, "part_size_bytes": 100, "expires_at": soon}
        begun, whole = Upload(id=uuid.uuid4(), **sizes), Upload(id=uuid.uuid4(), key=uuid.uuid4().hex, **sizes)
        part = UploadPart(upload_id=begun.id, number=1, key=uuid.uuid4().hex, size_bytes=100, sha256="0" * 64)
        with transaction(engine) as session:
            session.add_all((begun, whole))
            session.flush()
            session.add(part)
        TenantUsages(engine).add_up()
        assert fetch_usage(engine, tenant) == 400


def fetch_usage(engine: Engine, tenant: str) -> int | None:
    with transaction(engine) as session:
        return session.scalar(select(TenantUsage.stored_bytes).where(TenantUsage.tenant == tenant))
