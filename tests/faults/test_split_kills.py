"""F1 of a split: intake is killed after it wrote the jobs of all studies, before its commit. Each is there once."""

from __future__ import annotations

import os
import signal
import uuid
from pathlib import Path

import pytest
from sqlalchemy import func, select

from shared.artefacts import ArtefactKind
from shared.database import transaction
from shared.stages import StageName
from shared.tables import Artefact, Event, StageRun, UploadFile
from tests.faults.test_worker_kills import is_blocked, writes_blocked
from tests.hostile.packing import pack, unpack
from tests.stack.running import RunningStack, wait_until
from tests.workers.intake.test_splitting import OTHER_UID, move


@pytest.mark.stack
class TestAKilledSplit:
    def test_leaves_one_job_for_each_study(self, stack: RunningStack, phantom_zip: Path) -> None:
        files = unpack(phantom_zip)
        both = pack({**files, **move(files, OTHER_UID)})
        options = {"split": "true", "validate_only": "true"}
        stack.wait_for_all()  # or another job may be the one that waits to write
        # The files of an upload are written last.
        with writes_blocked(stack.engine, UploadFile.__tablename__):
            job_id = stack.http.post("/v1/jobs", files={"file": ("both.zip", both)}, params=options).json()["id"]
            wait_until(lambda: is_blocked(stack.engine, UploadFile.__tablename__), "intake has written the jobs")
            assert self._count_parts(stack, job_id) == 0
            os.kill(stack.pid("worker-intake"), signal.SIGKILL)
        job = stack.wait_for_end(job_id)
        assert job["problem"]["code"] == "mixed_studies"
        told = [entry["id"] for entry in job["problem"]["jobs"]]
        assert len(set(told)) == self._count_parts(stack, job_id) == 2
        for part in told:
            assert stack.wait_for_end(part)["state"] == "completed"
        self._assert_written_once(stack, [uuid.UUID(part) for part in told], uuid.UUID(job_id), len(files))

    def _count_parts(self, stack: RunningStack, job_id: str) -> int:
        """Count the other jobs that have the upload of a job."""
        keys = select(Artefact.key).where(Artefact.job_id == uuid.UUID(job_id), Artefact.kind == ArtefactKind.UPLOAD)
        parts = select(func.count()).where(Artefact.key.in_(keys), Artefact.job_id != uuid.UUID(job_id))
        with transaction(stack.engine) as session:
            return session.scalar(parts) or 0

    def _assert_written_once(self, stack: RunningStack, parts: list[uuid.UUID], job_id: uuid.UUID, files: int) -> None:
        with transaction(stack.engine) as session:
            assert session.get_one(StageRun, (job_id, StageName.INTAKE)).attempt >= 2
            for part in parts:
                queued = select(func.count()).where(Event.job_id == part, Event.state == "queued")
                assert session.scalar(queued) == 1
                used = select(func.count()).where(UploadFile.job_id == part, UploadFile.outcome == "used")
                assert session.scalar(used) == files
