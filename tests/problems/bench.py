"""What a generator of a problem works with: a real gateway, its database and storage, and intake."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import httpx
from sqlalchemy import Engine

from phantom.corpus.chest import Chest
from shared.settings import Settings
from shared.stages import StageName
from shared.storage import ObjectStore
from tests.gateway.conftest import RunningGateway
from workers.intake.stage import IntakeStage
from workers.runtime.heartbeat import Heartbeat
from workers.runtime.runner import StageRunner
from workers.runtime.stage import Stage

Document: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """`closed_port` is one that nobody listens on; `scratch` is a folder that all generators share."""

    gateway: RunningGateway
    settings: Settings
    engine: Engine
    store: ObjectStore
    intake: IntakeStage
    chest: Chest
    scratch: Path
    closed_port: int

    def submit(self, content: bytes, name: str = "study.zip", **options: str) -> uuid.UUID:
        """Submit a study and return its job."""
        answer = self.gateway.http.post("/v1/jobs", files={"file": (name, content)}, data=options)
        assert answer.status_code == 202, answer.text
        return uuid.UUID(answer.json()["id"])

    def read_upload(self, content: bytes, name: str = "study.zip", **options: str) -> uuid.UUID:
        """Submit a study, let intake read it as a worker would, and return its job."""
        job_id = self.submit(content, name, **options)
        self.run_stage(job_id, self.intake)
        return job_id

    def run_stage(self, job_id: uuid.UUID, stage: Stage, settings: Settings | None = None) -> None:
        """Run a stage of a job in the real runtime."""
        chosen = settings or self.settings
        runner = StageRunner(
            [stage],
            chosen,
            engine=self.engine,
            store=ObjectStore(chosen),
            heartbeat=Heartbeat(self.engine, chosen),
            worker="problem-tests",
        )
        runner.run(job_id, StageName(stage.name))

    def get(self, path: str) -> Document:
        """Return an answer of the gateway."""
        return read_json(self.gateway.http.get(path))

    def get_job_problem(self, job_id: uuid.UUID) -> Document:
        """Return the problem that a job has ended with."""
        job = self.get(f"/v1/jobs/{job_id}")
        assert job["finished_at"] is not None, job
        problem: Document = job["problem"]
        return problem


Generator: TypeAlias = Callable[[Bench], Document]


def read_json(answer: httpx.Response) -> Document:
    """Return the body of an answer."""
    document: Document = answer.json()
    return document
