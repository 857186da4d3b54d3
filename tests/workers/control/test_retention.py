"""Retention on a real database and real storage: what is due goes, whole and once, and nothing else."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, create_engine, func, make_url, select, text, update

from migrations import upgrade
from shared.artefacts import ArtefactKind
from shared.database import make_engine, transaction
from shared.errors import TransientFault
from shared.settings import Settings
from shared.states import JobState
from shared.storage import ObjectStore
from shared.tables import Artefact, Event, Job, UploadFile
from tests.workers.runtime.conftest import JobMaker, make_job
from workers.control.retention import Retention

__all__ = ["make_job"]  # the fixture of the runtime's tests serves here too

DAY = timedelta(days=1)
SettingsMaker = Callable[..., Settings]


@pytest.fixture(scope="module")
def engine(settings: Settings) -> Iterator[Engine]:
    """A database of its own: retention looks at every job, and other tests own theirs."""
    url = make_url(settings.database_url.get_secret_value())
    name = f"retention_{uuid.uuid4().hex}"
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    own = url.set(database=name).render_as_string(hide_password=False)
    upgrade(own)
    engine = make_engine(settings.model_copy(update={"database_url": SecretStr(own)}), pool_size=10)
    yield engine
    engine.dispose()
    admin.dispose()


@pytest.fixture
def keeping(settings: Settings) -> SettingsMaker:
    """Return a function that returns settings with other periods."""

    def make(**periods: timedelta | None) -> Settings:
        return settings.model_copy(update={"upload_retention": DAY, "volume_retention": None, **periods})

    return make


class Study:
    """A job with its upload in storage."""

    def __init__(self, engine: Engine, store: ObjectStore, job_id: uuid.UUID, key: str | None = None) -> None:
        self._engine = engine
        self._store = store
        self.id = job_id
        self.key = key or store.write_bytes(job_id.bytes, prefix="uploads").key
        with transaction(engine) as session:
            session.execute(update(Artefact).where(Artefact.job_id == job_id).values(key=self.key))
            session.execute(
                update(Job).where(Job.id == job_id).values(options={"upload_name": "Doe^Jane", "models": []})
            )
            session.add(UploadFile(job_id=job_id, ordinal=0, name="Doe^Jane/1.dcm", size_bytes=1, outcome="used"))

    def add_volume(self) -> str:
        key = self._store.write_bytes(b"volume", prefix=f"jobs/{self.id}/volume").key
        with transaction(self._engine) as session:
            volume = Artefact(id=uuid.uuid4(), job_id=self.id, kind=ArtefactKind.VOLUME, key=key)
            volume.media_type, volume.size_bytes, volume.sha256 = "application/octet-stream", 6, "0" * 64
            session.add(volume)
        return key

    def end(self, ago: timedelta) -> None:
        with transaction(self._engine) as session:
            values = {"state": JobState.COMPLETED, "finished_at": func.now() - ago}
            session.execute(update(Job).where(Job.id == self.id).values(**values))
            session.execute(update(Artefact).where(Artefact.job_id == self.id).values(created_at=func.now() - ago))

    def fetch_kinds(self) -> list[ArtefactKind]:
        with transaction(self._engine) as session:
            return sorted(session.scalars(select(Artefact.kind).where(Artefact.job_id == self.id)))

    def fetch_events(self) -> list[Event]:
        with transaction(self._engine) as session:
            return list(session.scalars(select(Event).where(Event.job_id == self.id).order_by(Event.id)))

    def is_stored(self) -> bool:
        return is_stored(self._store, self.key)


def is_stored(store: ObjectStore, key: str) -> bool:
    return key in {written for written, _ in store.iterate_keys()}


@pytest.fixture
def make_study(engine: Engine, store: ObjectStore, make_job: JobMaker) -> Callable[..., Study]:
    def make(*, key: str | None = None) -> Study:
        return Study(engine, store, make_job(), key)

    return make


StudyMaker = Callable[..., Study]


class TestUploads:
    def test_that_were_kept_long_enough_go_with_their_row(
        self, engine: Engine, store: ObjectStore, keeping: SettingsMaker, make_study: StudyMaker
    ) -> None:
        study = make_study()
        study.end(ago=2 * DAY)
        Retention(engine, store, keeping()).enforce()
        assert (study.is_stored(), study.fetch_kinds()) == (False, [])

    def test_take_the_names_of_their_files_along(
        self, engine: Engine, store: ObjectStore, keeping: SettingsMaker, make_study: StudyMaker
    ) -> None:
        study = make_study()
        study.end(ago=2 * DAY)
        Retention(engine, store, keeping()).enforce()
        with transaction(engine) as session:
            names = session.scalars(select(UploadFile.name).where(UploadFile.job_id == study.id)).all()
            options = session.get_one(Job, study.id).options
        assert (names, options) == ([None], {"models": []})

    def test_leave_an_event_behind(
        self, engine: Engine, store: ObjectStore, keeping: SettingsMaker, make_study: StudyMaker
    ) -> None:
        study = make_study()
        study.end(ago=2 * DAY)
        Retention(engine, store, keeping()).enforce()
        told = [(event.type, event.facts) for event in study.fetch_events()]
        assert told == [("artefact.removed", {"kind": "upload", "reason": "retention"})]

    def test_stay_while_their_period_lasts(
        self, engine: Engine, store: ObjectStore, keeping: SettingsMaker, make_study: StudyMaker
    ) -> None:
        study = make_study()
        study.end(ago=DAY / 2)
        Retention(engine, store, keeping()).enforce()
        assert (study.is_stored(), study.fetch_kinds()) == (True, [ArtefactKind.UPLOAD])

    def test_of_jobs_that_run_stay_whatever_their_age(
        self, engine: Engine, store: ObjectStore, keeping: SettingsMaker, make_study: StudyMaker
    ) -> None:
        study = make_study()
        with transaction(engine) as session:
            session.execute(update(Artefact).where(Artefact.job_id == study.id).values(created_at=func.now() - 9 * DAY))
        Retention(engine, store, keeping(upload_retention=timedelta(0))).enforce()
        assert study.is_stored()

    def test_go_as_soon_as_the_job_ended_when_nothing_is_to_be_kept(
        self, engine: Engine, store: ObjectStore, keeping: SettingsMaker, make_study: StudyMaker
    ) -> None:
        study = make_study()
        study.end(ago=timedelta(0))
        Retention(engine, store, keeping(upload_retention=timedelta(0))).enforce()
        assert not study.is_stored()

    def test_stay_for_ever_when_nothing_limits_them(
        self, engine: Engine, store: ObjectStore, keeping: SettingsMaker, make_study: StudyMaker
    ) -> None:
        study = make_study()
        study.end(ago=999 * DAY)
        Retention(engine, store, keeping(upload_retention=None)).enforce()
        assert study.is_stored()


class TestVolumes:
    def test_outlive_their_upload_unless_told_otherwise(
        self, engine: Engine, store: ObjectStore, keeping: SettingsMaker, make_study: StudyMaker
    ) -> None:
        study = make_study()
        study.add_volume()
        study.end(ago=99 * DAY)
        Retention(engine, store, keeping()).enforce()
        assert study.fetch_kinds() == [ArtefactKind.VOLUME]

    def test_have_a_period_of_their_own(
        self, engine: Engine, store: ObjectStore, keeping: SettingsMaker, make_study: StudyMaker
    ) -> None:
        study = make_study()
        key = study.add_volume()
        study.end(ago=DAY)
        Retention(engine, store, keeping(upload_retention=9 * DAY, volume_retention=timedelta(hours=1))).enforce()
        assert study.fetch_kinds() == [ArtefactKind.UPLOAD]
        assert not is_stored(store, key)
        with transaction(engine) as session:
            assert session.scalar(select(UploadFile.name).where(UploadFile.job_id == study.id)) is not None


class TestSharedUploads:
    def test_stay_while_another_job_needs_them(
        self, engine: Engine, store: ObjectStore, keeping: SettingsMaker, make_study: StudyMaker
    ) -> None:
        parent = make_study()
        part = make_study(key=parent.key)
        parent.end(ago=2 * DAY)
        Retention(engine, store, keeping()).enforce()
        assert (parent.fetch_kinds(), part.fetch_kinds(), part.is_stored()) == ([], [ArtefactKind.UPLOAD], True)
        part.end(ago=2 * DAY)
        Retention(engine, store, keeping()).enforce()
        assert not part.is_stored()

    def test_go_although_their_last_jobs_are_looked_at_together(
        self, engine: Engine, store: ObjectStore, keeping: SettingsMaker, make_study: StudyMaker
    ) -> None:
        first = make_study()
        studies = [first, *(make_study(key=first.key) for _ in range(7))]
        for study in studies:
            study.end(ago=2 * DAY)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: Retention(engine, store, keeping()).enforce(), range(4)))
        assert not first.is_stored()
        assert all(not study.fetch_kinds() for study in studies)


class TestSeveralControlProcesses:
    def test_remove_each_upload_once(
        self, engine: Engine, store: ObjectStore, keeping: SettingsMaker, make_study: StudyMaker
    ) -> None:
        studies = [make_study() for _ in range(12)]
        for study in studies:
            study.end(ago=2 * DAY)
        with ThreadPoolExecutor(4) as pool:
            removed = sum(pool.map(lambda _: Retention(engine, store, keeping()).enforce(), range(4)))
        assert removed == len(studies)
        assert [len(study.fetch_events()) for study in studies] == [1] * len(studies)


class TestFaults:
    def test_nothing_is_lost_while_storage_is_away(
        self, engine: Engine, store: ObjectStore, keeping: SettingsMaker, make_study: StudyMaker
    ) -> None:
        study = make_study()
        study.end(ago=2 * DAY)
        away = keeping().model_copy(update={"storage_endpoint": "127.0.0.1:9"})
        with pytest.raises(TransientFault):
            Retention(engine, ObjectStore(away), away).enforce()
        assert (study.fetch_kinds(), study.fetch_events()) == ([ArtefactKind.UPLOAD], [])
        Retention(engine, store, keeping()).enforce()
        assert (study.is_stored(), study.fetch_kinds()) == (False, [])

    def test_a_row_whose_object_went_in_a_crash_goes_too(
        self, engine: Engine, store: ObjectStore, keeping: SettingsMaker, make_study: StudyMaker
    ) -> None:
        study = make_study()
        study.end(ago=2 * DAY)
        store.remove(study.key)
        Retention(engine, store, keeping()).enforce()
        assert study.fetch_kinds() == []
