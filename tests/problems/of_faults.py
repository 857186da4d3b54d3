"""Faults of ours, provoked where they really come from: servers away, leases that lapse, a full disk."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, text, update
from sqlalchemy.engine import make_url

from gateway.jobs.schemas import describe_problem
from gateway.problems.handlers import describe_fault
from model_weights.policies import Policy
from shared import tables
from shared.artefacts import UploadKind
from shared.database import transaction
from shared.errors import InputProblem, TransientFault, Unanswerable
from shared.problems import ProblemCode
from shared.settings import Settings
from shared.stages import StageName
from shared.tables import Job, StageRun
from tests.gateway.conftest import ZIP, running_gateway
from tests.gateway.pipeline import complete_intake, lease_stage
from tests.problems.bench import Bench, Document, Generator, read_json
from workers.control.reaper import Reaper
from workers.fusion.stage import make_stage as make_fusion
from workers.intake.children import ChildPool
from workers.intake.limits import make_limits
from workers.intake.messages import Order
from workers.model_host.memory import MemoryAmount, MemoryBudget
from workers.runtime.celery_app import make_celery, publish
from workers.runtime.outcomes import end_after_error

_FULL_DISK = Path("/dev/full")  # every write ends as on a disk without space
_STRICT = Policy(name="strict", version="1", threshold=0.5, minimum_models=1)


def _let_every_model_fail(bench: Bench) -> Document:
    job_id = bench.submit(ZIP)
    with transaction(bench.engine) as session:
        session.merge(
            tables.Policy(id=_STRICT.id, name=_STRICT.name, digest=_STRICT.digest, document=_STRICT.to_document())
        )
        session.flush()
        session.get_one(Job, job_id).policy_id = _STRICT.id
    complete_intake(bench.engine, job_id)
    refusal = InputProblem(ProblemCode.NO_LUNGS_FOUND, "No lungs.")
    end_after_error(bench.engine, bench.settings, lease_stage(bench.engine, job_id, StageName.MEDNEXT), refusal)
    bench.run_stage(job_id, make_fusion(bench.settings))
    return bench.get_job_problem(job_id)


def _pass_the_deadline(bench: Bench) -> Document:
    job_id = bench.submit(ZIP)
    with transaction(bench.engine) as session:
        session.execute(update(Job).where(Job.id == job_id).values(deadline_at=func.now() - timedelta(hours=1)))
    Reaper(bench.engine, bench.settings).reap()
    return bench.get_job_problem(job_id)


def _lose_every_worker(bench: Bench) -> Document:
    job_id = bench.submit(ZIP)
    lease_stage(bench.engine, job_id, StageName.INTAKE)
    lapsed = {"lost_workers": bench.settings.lost_worker_limit, "lease_expires_at": func.now() - timedelta(seconds=1)}
    with transaction(bench.engine) as session:
        session.execute(update(StageRun).where(StageRun.job_id == job_id, StageRun.stage == "intake").values(lapsed))
    Reaper(bench.engine, bench.settings).reap()
    return bench.get_job_problem(job_id)


def _read_from_a_storage_that_stays_away(bench: Bench) -> Document:
    job_id = bench.submit(ZIP)
    away = _without_storage(bench).model_copy(update={"transient_retry_limit": 0})
    bench.run_stage(job_id, bench.intake, away)
    return bench.get_job_problem(job_id)


def _submit_without_storage(bench: Bench) -> Document:
    with running_gateway(_without_storage(bench)) as other:
        return read_json(other.http.post("/v1/jobs", content=ZIP))


def _without_storage(bench: Bench) -> Settings:
    return bench.settings.model_copy(update={"storage_endpoint": f"127.0.0.1:{bench.closed_port}"})


def _list_jobs_without_database(bench: Bench) -> Document:
    url = make_url(bench.settings.database_url.get_secret_value()).set(port=bench.closed_port)
    away = {**bench.settings.model_dump(), "database_url": url.render_as_string(hide_password=False)}
    with running_gateway(Settings.model_validate(away)) as other:
        return read_json(other.http.get("/v1/jobs"))


def _publish_without_broker(bench: Bench) -> Document:
    """No caller is ever refused for it, so the fault is told as the gateway tells any other."""
    url = f"redis://127.0.0.1:{bench.closed_port}/0"
    away = Settings.model_validate({**bench.settings.model_dump(), "broker_url": url})
    with make_celery(away) as app, pytest.raises(TransientFault) as fault:
        publish(app, uuid.uuid4(), StageName.INTAKE, priority=5)
    return describe_fault(fault.value).to_document()


def _read_on_a_full_disk(bench: Bench) -> Document:
    """A NIfTI file is unpacked into the scratch folder, whose disk is full here."""
    upload = bench.scratch / "whole.nii"
    upload.write_bytes(bytes(4096))
    full = bench.scratch / uuid.uuid4().hex
    full.mkdir()
    (full / "upload.nii").symlink_to(_FULL_DISK)
    order = Order(str(upload), UploadKind.NIFTI, full / "volume.b2nd", make_limits(bench.settings))
    with closing(ChildPool()) as children, pytest.raises(TransientFault) as fault:
        children.read(order, lambda _: None)
    return describe_fault(fault.value).to_document()


def _answer_a_volume_that_fits_nowhere(bench: Bench) -> Document:
    job_id = bench.submit(ZIP)
    complete_intake(bench.engine, job_id)
    with pytest.raises(Unanswerable) as refusal:
        MemoryBudget().require_possible(MemoryAmount(2**60))
    lease = lease_stage(bench.engine, job_id, StageName.MEDNEXT)
    end_after_error(bench.engine, bench.settings, lease, refusal.value)
    with transaction(bench.engine) as session:
        told = describe_problem(session.get_one(StageRun, (job_id, StageName.MEDNEXT)).problem, job_id)
    assert told is not None
    return told.model_dump(mode="json")


def _ask_a_gateway_without_policy(bench: Bench) -> Document:
    with running_gateway(bench.settings.model_copy(update={"policy": "unknown"})) as other:
        return read_json(other.http.get("/readyz"))


def _hide_a_table(bench: Bench) -> Document:
    with transaction(bench.engine) as session:
        session.execute(text("ALTER TABLE model_versions RENAME TO hidden"))
    try:
        return bench.get("/v1/models")
    finally:
        with transaction(bench.engine) as session:
            session.execute(text("ALTER TABLE hidden RENAME TO model_versions"))


GENERATORS: Mapping[ProblemCode, Generator] = {
    ProblemCode.NO_MODEL_ANSWERED: _let_every_model_fail,
    ProblemCode.DEADLINE_EXCEEDED: _pass_the_deadline,
    ProblemCode.RETRIES_EXHAUSTED: _read_from_a_storage_that_stays_away,
    ProblemCode.WORKER_LOST: _lose_every_worker,
    ProblemCode.STORAGE_UNAVAILABLE: _submit_without_storage,
    ProblemCode.DATABASE_UNAVAILABLE: _list_jobs_without_database,
    ProblemCode.BROKER_UNAVAILABLE: _publish_without_broker,
    ProblemCode.NO_SPACE: _read_on_a_full_disk,
    ProblemCode.MEMORY_INSUFFICIENT: _answer_a_volume_that_fits_nowhere,
    ProblemCode.NOT_READY: _ask_a_gateway_without_policy,
    ProblemCode.INTERNAL_ERROR: _hide_a_table,
}
