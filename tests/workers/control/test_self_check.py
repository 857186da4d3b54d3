"""The self-check on a real database and real storage: when one is made, how it is judged, and who can see it."""

from __future__ import annotations

import errno
import threading
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, create_engine, delete, func, make_url, select, text, update

from migrations import upgrade
from shared.database import make_engine, transaction
from shared.pauses import Pause
from shared.self_check import SELF_CHECK_TENANT, SelfCheckState, fetch_self_check
from shared.settings import Settings
from shared.stages import StageName
from shared.states import JobState, StageState
from shared.storage import ObjectStore
from shared.tables import Artefact, Event, Feature, Job, Policy, Result, StageRun
from workers.control.registration import register_installation
from workers.self_check import SelfCheck, monitor, repository

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def own_engine(settings: Settings) -> Iterator[Engine]:
    """A database of its own, with what control registers at its start."""
    url = make_url(settings.database_url.get_secret_value())
    name = f"self_check_{uuid.uuid4().hex}"
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    own = url.set(database=name).render_as_string(hide_password=False)
    upgrade(own)
    engine = make_engine(settings.model_copy(update={"database_url": SecretStr(own)}))
    register_installation(engine, settings)
    yield engine
    engine.dispose()
    admin.dispose()


@pytest.fixture
def engine(own_engine: Engine) -> Engine:
    """The database as on the day of the installation."""
    with transaction(own_engine) as session:
        session.execute(delete(Job))
        session.execute(update(Policy).values(created_at=func.now()))
    return own_engine


@pytest.fixture
def check(engine: Engine, store: ObjectStore, settings: Settings) -> SelfCheck:
    def write(path: Path) -> None:
        path.write_bytes(b"PK\x03\x04 a study")

    return SelfCheck(engine, store, settings, write)


def age(engine: Engine, by: timedelta) -> None:
    """Let the platform and its self-checks be older."""
    with transaction(engine) as session:
        session.execute(update(Policy).values(created_at=Policy.created_at - by))
        session.execute(update(Job).values(created_at=Job.created_at - by))


def list_checks(engine: Engine) -> list[uuid.UUID]:
    with transaction(engine) as session:
        query = select(Job.id).where(Job.tenant == SELF_CHECK_TENANT).order_by(Job.created_at)
        return list(session.scalars(query))


def answer(
    engine: Engine, job_id: uuid.UUID, *, mass: float, lacking: StageName | None = None, digest: str = "d" * 64
) -> None:
    """End a self-check as the platform would."""
    with transaction(engine) as session:
        job = session.get_one(Job, job_id)
        for run in session.scalars(select(StageRun).where(StageRun.job_id == job_id)):
            is_lacking = run.stage is lacking or run.reason is not None
            run.state = StageState.FAILED if is_lacking else StageState.SUCCEEDED
            run.facts = {} if is_lacking else {"digest": digest}
        session.add(
            Feature(job_id=job_id, stage=StageName.MEDNEXT, values={"kolyan_mass": mass, "kolyan_nodule": None})
        )
        session.add(Result(job_id=job_id, document={}, policy_id=job.policy_id, probability=0.5))
        job.state, job.finished_at = JobState.COMPLETED, func.now()


class TestSubmitting:
    def test_a_young_platform_has_none(self, engine: Engine, check: SelfCheck) -> None:
        check.look()
        assert list_checks(engine) == []

    def test_there_is_one_a_day(self, engine: Engine, check: SelfCheck) -> None:
        age(engine, DAY)
        check.look()
        check.look()
        assert len(list_checks(engine)) == 1
        age(engine, DAY)
        check.look()
        assert len(list_checks(engine)) == 2

    def test_of_two_controls_at_once_one_makes_it(self, engine: Engine, check: SelfCheck, store: ObjectStore) -> None:
        age(engine, DAY)
        assert check.submit(DAY) is not None
        assert check.submit(DAY) is None
        with transaction(engine) as session:
            named = set(session.scalars(select(Artefact.key)))
        assert named <= {key for key, _ in store.iterate_keys()}

    def test_every_stage_is_run_and_none_answered_by_an_earlier_job(self, engine: Engine, check: SelfCheck) -> None:
        job_id = check.submit()
        with transaction(engine) as session:
            assert session.get_one(Job, job_id).options == {"reuse": False}

    def test_none_is_made_where_the_interval_is_nought(
        self, engine: Engine, store: ObjectStore, settings: Settings
    ) -> None:
        age(engine, DAY)
        SelfCheck(engine, store, settings.model_copy(update={"self_check_interval": timedelta(0)})).look()
        assert list_checks(engine) == []

    def test_a_disk_that_is_full_does_not_end_the_monitor(
        self, engine: Engine, store: ObjectStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(monitor, "_LOOK_EVERY_S", 0.01)
        stopped, tries = threading.Event(), []

        def write(path: Path) -> None:
            tries.append(path)
            if len(tries) == 2:
                stopped.set()
            raise OSError(errno.ENOSPC, "full")

        age(engine, DAY)
        SelfCheck(engine, store, settings, write).run(stopped)
        assert len(tries) == 2


class TestJudging:
    def run_one(
        self,
        engine: Engine,
        check: SelfCheck,
        *,
        mass: float,
        lacking: StageName | None = None,
        digest: str = "d" * 64,
    ) -> uuid.UUID:
        job_id = check.submit()
        assert job_id is not None
        answer(engine, job_id, mass=mass, lacking=lacking, digest=digest)
        check.judge_ended()
        return job_id

    def test_what_the_same_weights_said_first_is_what_is_expected(self, engine: Engine, check: SelfCheck) -> None:
        states = []
        for mass in (0.4, 0.405, 0.9):
            job_id = self.run_one(engine, check, mass=mass)
            with transaction(engine) as session:
                outcome = fetch_self_check(session)
            assert outcome.job_id == job_id
            states.append(outcome.state)
        assert states == [SelfCheckState.PASSED, SelfCheckState.PASSED, SelfCheckState.FAILED]
        assert outcome.facts is not None
        assert outcome.facts["failures"] == ["differs: kolyan_mass by 0.5000"]

    def test_weights_that_came_after_very_many_checks_are_held_to_their_own_first(
        self, engine: Engine, check: SelfCheck, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(repository, "_MOST_EARLIER", 2)
        for _ in range(3):
            self.run_one(engine, check, mass=0.1, digest="e" * 64)
        for mass in (0.4, 0.9):
            self.run_one(engine, check, mass=mass)
        with transaction(engine) as session:
            assert fetch_self_check(session).state is SelfCheckState.FAILED

    def test_what_failed_never_becomes_what_is_expected(
        self, engine: Engine, check: SelfCheck, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(repository, "_MOST_EARLIER", 2)
        for mass in (0.4, 0.9, 0.9, 0.9):
            self.run_one(engine, check, mass=mass)
        with transaction(engine) as session:
            assert fetch_self_check(session).state is SelfCheckState.FAILED

    def test_an_installed_model_without_an_answer_fails_it(self, engine: Engine, check: SelfCheck) -> None:
        self.run_one(engine, check, mass=0.4, lacking=StageName.MEDNEXT)
        with transaction(engine) as session:
            outcome = fetch_self_check(session)
        assert outcome.state is SelfCheckState.FAILED

    def test_a_model_that_was_paused_when_it_ran_need_not_answer(self, engine: Engine, check: SelfCheck) -> None:
        """Nor need fVLM, which the masks of the paused segmentation would have served."""
        with transaction(engine) as session:
            session.add(Pause(stage=StageName.SEGMENTATION, reason="new weights", paused_by="an operator"))
        job_id = check.submit()
        assert job_id is not None
        with transaction(engine) as session:
            session.execute(delete(Pause))
        answer(engine, job_id, mass=0.4, lacking=StageName.FVLM)
        check.judge_ended()
        with transaction(engine) as session:
            outcome = fetch_self_check(session)
        assert outcome.state is SelfCheckState.PASSED, outcome.facts

    def test_a_job_without_a_result_fails_it(self, engine: Engine, check: SelfCheck) -> None:
        job_id = check.submit()
        with transaction(engine) as session:
            job = session.get_one(Job, job_id)
            job.state, job.finished_at, job.problem = JobState.FAILED, func.now(), {"code": "worker_lost"}
        check.judge_ended()
        with transaction(engine) as session:
            assert fetch_self_check(session).facts == {"failures": ["no_result: worker_lost"]}

    def test_each_is_judged_once(self, engine: Engine, check: SelfCheck) -> None:
        job_id = self.run_one(engine, check, mass=0.4)
        check.judge_ended()
        with transaction(engine) as session:
            told = select(func.count()).where(Event.job_id == job_id, Event.type == "self_check")
            assert session.scalar(told) == 1
