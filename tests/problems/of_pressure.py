"""Submissions that there is no room for."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.dialects.postgresql import insert

from shared.database import transaction
from shared.problems import ProblemCode
from shared.queue_tables import TenantUsage
from tests.gateway.conftest import ZIP, running_gateway
from tests.problems.bench import Bench, Document, Generator, read_json


def _submit_where(bench: Bench, **limits: int) -> Document:
    bench.submit(ZIP)
    with running_gateway(bench.settings.model_copy(update=limits)) as other:
        return read_json(other.http.post("/v1/jobs", content=ZIP))


def _fill_the_queue(bench: Bench) -> Document:
    return _submit_where(bench, queue_limit=1)


def _fill_the_queue_of_a_tenant(bench: Bench) -> Document:
    return _submit_where(bench, tenant_queue_limit=1)


def _fill_the_space_of_a_tenant(bench: Bench) -> Document:
    usage = insert(TenantUsage).values(tenant="default", stored_bytes=2**30)
    with transaction(bench.engine) as session:
        session.execute(usage.on_conflict_do_update(index_elements=["tenant"], set_={"stored_bytes": 2**30}))
    return _submit_where(bench, tenant_storage_limit_bytes=2**30)


GENERATORS: Mapping[ProblemCode, Generator] = {
    ProblemCode.QUEUE_FULL: _fill_the_queue,
    ProblemCode.TENANT_QUEUE_FULL: _fill_the_queue_of_a_tenant,
    ProblemCode.TENANT_STORAGE_FULL: _fill_the_space_of_a_tenant,
}
