"""The runner in the real runtime: what becomes of stored artefacts when the end of a stage goes wrong."""

from __future__ import annotations

import uuid
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from sqlalchemy import Engine, func, select

from shared.artefacts import ArtefactKind
from shared.database import transaction
from shared.problems import Problem, ProblemCode
from shared.settings import Settings
from shared.stages import StageName
from shared.states import StageState
from shared.storage import ObjectStore
from shared.tables import Artefact, StageRun
from tests.lost_answers import lost_answer_to_commit
from tests.workers.runtime.conftest import JobMaker
from workers.runtime.completion import reject_study
from workers.runtime.heartbeat import Heartbeat
from workers.runtime.lease import Lease
from workers.runtime.runner import StageRunner
from workers.runtime.stage import ProducedArtefact, StageContext, StageOutput


class WritingIntake:
    """Makes one artefact; `is_overtaken` lets somebody else end the stage meanwhile."""

    name = StageName.INTAKE

    def __init__(self, engine: Engine, *, is_overtaken: bool = False) -> None:
        self._engine = engine
        self._is_overtaken = is_overtaken
        self.scratch = Path()

    def run(self, context: StageContext) -> StageOutput:
        self.scratch = context.scratch
        if self._is_overtaken:
            end_elsewhere(self._engine, uuid.UUID(context.job_id))
        path = context.scratch / "volume"
        path.write_bytes(context.job_id.encode())
        return StageOutput(artefacts=[ProducedArtefact(ArtefactKind.VOLUME, path, "application/octet-stream")])


def end_elsewhere(engine: Engine, job_id: uuid.UUID) -> None:
    with transaction(engine) as session:
        run = session.get_one(StageRun, (job_id, StageName.INTAKE))
        assert run.lease_token is not None
        lease = Lease(job_id, run.stage, run.lease_token, run.attempt, "other")
        reject_study(session, lease, Problem(ProblemCode.NO_DICOM_IMAGES, "Ended by the test."))


def run_intake(stage: WritingIntake, engine: Engine, settings: Settings, store: ObjectStore, job_id: uuid.UUID) -> None:
    heartbeat = Heartbeat(engine, settings)
    runner = StageRunner([stage], settings, engine=engine, store=store, heartbeat=heartbeat, worker="runner-tests")
    runner.run(job_id, StageName.INTAKE)


def stored_keys(store: ObjectStore, job_id: uuid.UUID) -> set[str]:
    return {key for key, _ in store.iterate_keys() if str(job_id) in key}


class TestStoredArtefacts:
    def test_stay_when_only_the_answer_to_the_commit_was_lost(
        self, engine: Engine, settings: Settings, store: ObjectStore, make_job: JobMaker
    ) -> None:
        job_id = make_job()
        with lost_answer_to_commit(lambda row: isinstance(row, Artefact) and row.kind is ArtefactKind.VOLUME):
            run_intake(WritingIntake(engine), engine, settings, store, job_id)
        with transaction(engine) as session:
            named = session.scalars(
                select(Artefact.key).where(Artefact.job_id == job_id, Artefact.kind == ArtefactKind.VOLUME)
            ).all()
            assert session.get_one(StageRun, (job_id, StageName.INTAKE)).state is StageState.SUCCEEDED
        assert stored_keys(store, job_id) == set(named)

    def test_go_when_somebody_else_has_ended_the_stage(
        self, engine: Engine, settings: Settings, store: ObjectStore, make_job: JobMaker
    ) -> None:
        job_id = make_job()
        run_intake(WritingIntake(engine, is_overtaken=True), engine, settings, store, job_id)
        assert stored_keys(store, job_id) == set()


class CautiousIntake(WritingIntake):
    """Is asked whether there is memory before it is claimed."""

    def __init__(self, engine: Engine, *, has_memory: bool) -> None:
        super().__init__(engine)
        self._has_memory = has_memory
        self.asked: list[tuple[int, int, int]] = []

    def admit(self, shape_zyx: tuple[int, int, int]) -> AbstractContextManager[bool]:
        self.asked.append(shape_zyx)
        return nullcontext(self._has_memory)


def add_volume(engine: Engine, job_id: uuid.UUID) -> None:
    with transaction(engine) as session:
        session.add(
            Artefact(
                id=uuid.uuid4(),
                job_id=job_id,
                kind=ArtefactKind.VOLUME,
                stage=StageName.INTAKE,
                key=f"volumes/{job_id}",
                media_type="application/octet-stream",
                size_bytes=1,
                sha256="0" * 64,
                facts={"chosen": {"shape_zyx": [30, 20, 10]}},
            )
        )


class TestMemory:
    def test_a_stage_that_does_not_fit_is_left_for_later_unclaimed(
        self, engine: Engine, settings: Settings, store: ObjectStore, make_job: JobMaker
    ) -> None:
        job_id, stage = make_job(), CautiousIntake(engine, has_memory=False)
        add_volume(engine, job_id)
        run_intake(stage, engine, settings, store, job_id)
        with transaction(engine) as session:
            run = session.get_one(StageRun, (job_id, StageName.INTAKE))
            is_later = session.scalar(
                select(StageRun.next_attempt_at > func.now()).where(
                    StageRun.job_id == job_id, StageRun.stage == StageName.INTAKE
                )
            )
            assert (run.state, run.attempt, run.published_at, is_later) == (StageState.READY, 0, None, True)
        assert stage.asked == [(30, 20, 10)]

    def test_without_a_volume_nothing_is_asked(
        self, engine: Engine, settings: Settings, store: ObjectStore, make_job: JobMaker
    ) -> None:
        job_id, stage = make_job(), CautiousIntake(engine, has_memory=False)
        run_intake(stage, engine, settings, store, job_id)
        assert stage.asked == []
        with transaction(engine) as session:
            assert session.get_one(StageRun, (job_id, StageName.INTAKE)).state is StageState.SUCCEEDED


class TestScratch:
    def test_lies_in_the_cache_folder_where_the_next_start_finds_what_a_kill_left(
        self, engine: Engine, settings: Settings, store: ObjectStore, make_job: JobMaker
    ) -> None:
        stage = WritingIntake(engine)
        run_intake(stage, engine, settings, store, make_job())
        assert settings.cache_dir / "scratch" in stage.scratch.parents
        assert not stage.scratch.exists()
