"""`ctclip backup` and `ctclip restore` between two real installations: what comes back is what was there."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url
from typer import Typer
from typer.testing import CliRunner, Result

from deploy.backups.command import backup, restore
from deploy.backups.manifest import Manifest, place_object, place_table
from deploy.backups.restoring import restore as put_back
from migrations import upgrade
from shared.acceptance import NewJob, StoredUpload, add_job
from shared.artefacts import UploadKind
from shared.audit import Deed, record, verify_chain
from shared.database import SWEEP_LOCK, holding_lock, make_engine, transaction
from shared.events import record_job_state
from shared.settings import Settings, get_settings
from shared.states import JobState
from shared.storage import ObjectStore
from shared.tables import Event, Job, Policy

CONTENT = b"a study of nobody"


@dataclass(frozen=True)
class Installation:
    """A database and a bucket of their own."""

    settings: Settings
    engine: Engine
    store: ObjectStore


@pytest.fixture
def make_installation(settings: Settings, engine: Engine) -> Iterator[Callable[[], Installation]]:
    """Return a function that makes an empty installation without a schema."""
    made: list[Installation] = []

    def make() -> Installation:
        name = f"own-{uuid.uuid4().hex[:8]}"
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f'CREATE DATABASE "{name}"'))
        url = make_url(settings.database_url.get_secret_value()).set(database=name)
        named = {key: value for key, value in settings if value is not None}
        address = url.render_as_string(hide_password=False)
        own = Settings.model_validate({**named, "database_url": address, "storage_bucket": name})
        installation = Installation(own, make_engine(own, pool_size=2), ObjectStore(own))
        made.append(installation)
        return installation

    yield make
    for installation in made:
        installation.engine.dispose()


@pytest.fixture
def source(make_installation: Callable[[], Installation]) -> Installation:
    """An installation in use: two jobs, their objects and events, a log, and a policy of its own."""
    installation = make_installation()
    upgrade(installation.settings.database_url.get_secret_value())
    installation.store.ensure_bucket()
    with transaction(installation.engine) as session:
        session.add(
            Policy(id="default-1", name="default", digest="1", document={"text": "a\tb\\n\u00e9"}, is_active=True)
        )
        session.flush()
        for number in range(2):
            stored = installation.store.write_bytes(CONTENT * (number + 1), prefix="uploads")
            new = NewJob(
                id=uuid.uuid4(),
                tenant="default",
                priority=5,
                options={},
                policy_id="default-1",
                weights_profile="demo",
                time_limit=timedelta(hours=1),
                upload=StoredUpload(stored, UploadKind.ZIP, "application/zip"),
            )
            add_job(session, new)
            record(session, Deed("default", "key", "POST /v1/jobs", f"/v1/jobs/{new.id}", status=202, trace_id=""))
    return installation


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Result]]:
    """Return a function that runs a command with the settings of an installation."""

    def run_command(command: Callable[..., None], installation: Installation, *arguments: object) -> Result:
        own = installation.settings
        monkeypatch.setenv("CTCLIP_STORAGE_ENDPOINT", own.storage_endpoint)
        monkeypatch.setenv("CTCLIP_STORAGE_SECURE", "false")
        monkeypatch.setenv("CTCLIP_STORAGE_BUCKET", own.storage_bucket)
        for name in ("database_url", "storage_access_key", "storage_secret_key"):
            monkeypatch.setenv(f"CTCLIP_{name.upper()}", getattr(own, name).get_secret_value())
        get_settings.cache_clear()
        app = Typer()
        app.command()(command)
        return CliRunner().invoke(app, [*map(str, arguments), "--json"])

    yield run_command
    get_settings.cache_clear()


Run = Callable[..., Result]


def keep(run: Run, installation: Installation, folder: Path) -> Manifest:
    done = run(backup, installation, folder)
    assert done.exit_code == 0, done.output
    return Manifest.read(folder)


class TestABackup:
    def test_brings_everything_back_as_it_was(
        self, run: Run, source: Installation, make_installation: Callable[[], Installation], tmp_path: Path
    ) -> None:
        kept, target = keep(run, source, tmp_path / "first"), make_installation()
        done = run(restore, target, tmp_path / "first")
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["objects"] == 2
        again = keep(run, target, tmp_path / "second")
        assert [(t.table, t.rows, t.sha256) for t in again.tables] == [(t.table, t.rows, t.sha256) for t in kept.tables]
        assert again.objects == kept.objects
        assert {table.table: table.rows for table in kept.tables}["jobs"] == 2

    def test_goes_on_where_it_was_left(
        self, run: Run, source: Installation, make_installation: Callable[[], Installation], tmp_path: Path
    ) -> None:
        keep(run, source, tmp_path / "kept")
        target = make_installation()
        run(restore, target, tmp_path / "kept")
        with transaction(target.engine) as session:
            last = max(session.query(Event.id).all())[0]
            job = session.query(Job).first()
            assert job is not None
            record_job_state(session, job.id, JobState.RUNNING)
            record(session, Deed("default", "key", "GET /v1/jobs", "/v1/jobs", status=200, trace_id=""))
        with transaction(target.engine) as session:
            assert max(session.query(Event.id).all())[0] > last
            report = verify_chain(session)
        assert (report.broken_at, report.head.sequence) == (None, 3)

    def test_is_not_put_over_what_is_there(self, run: Run, source: Installation, tmp_path: Path) -> None:
        keep(run, source, tmp_path / "kept")
        done = run(restore, source, tmp_path / "kept")
        assert done.exit_code == 1
        assert "rows in jobs" in done.output
        assert run(backup, source, tmp_path / "kept").exit_code == 1

    def test_that_is_damaged_changes_nothing(
        self, run: Run, source: Installation, make_installation: Callable[[], Installation], tmp_path: Path
    ) -> None:
        kept, target = keep(run, source, tmp_path / "kept"), make_installation()
        path = place_object(tmp_path / "kept", kept.objects[0].key)
        path.write_bytes(b"another study")
        assert "damaged" in run(restore, target, tmp_path / "kept").output
        path.write_bytes(source_bytes(source, kept))
        assert run(restore, target, tmp_path / "kept", "--check").exit_code == 0
        place_table(tmp_path / "kept", "jobs").unlink()
        done = run(restore, target, tmp_path / "kept", "--check")
        assert done.exit_code == 1
        assert "the rows of jobs" in done.output

    def test_without_a_manifest_is_none(
        self, run: Run, make_installation: Callable[[], Installation], tmp_path: Path
    ) -> None:
        done = run(restore, make_installation(), tmp_path)
        assert done.exit_code == 1
        assert "no whole backup" in done.output

    def test_leaves_out_objects_that_retention_took(self, run: Run, source: Installation, tmp_path: Path) -> None:
        key = next(iter(source.store.iterate_keys()))[0]
        source.store.remove(key)
        kept = keep(run, source, tmp_path / "kept")
        assert kept.gone == [key]
        assert len(kept.objects) == 1

    def test_is_put_back_while_no_sweep_looks_for_objects_without_rows(
        self, run: Run, source: Installation, make_installation: Callable[[], Installation], tmp_path: Path
    ) -> None:
        keep(run, source, tmp_path / "kept")
        target, swept = make_installation(), []
        with holding_lock(target.engine, SWEEP_LOCK):
            assert "the sweep of control" in run(restore, target, tmp_path / "kept").output

        def try_to_sweep(done: int, total: int) -> None:
            with holding_lock(target.engine, SWEEP_LOCK) as is_held:
                swept.append(is_held)

        put_back(target.engine, target.store, target.settings, tmp_path / "kept", try_to_sweep)
        assert swept == [False, False]

    def test_breaks_off_where_the_database_is_away(self, run: Run, source: Installation, tmp_path: Path) -> None:
        away = make_url(source.settings.database_url.get_secret_value()).set(port=1)
        address = SecretStr(away.render_as_string(hide_password=False))
        unreached = replace(source, settings=source.settings.model_copy(update={"database_url": address}))
        done = run(backup, unreached, tmp_path / "kept")
        assert (done.exit_code, "Broke off" in done.output) == (2, True), done.output

    def test_breaks_off_where_rows_cannot_be_copied(
        self, run: Run, make_installation: Callable[[], Installation], tmp_path: Path
    ) -> None:
        """There is no schema yet, so COPY finds no table: no later try would."""
        done = run(backup, make_installation(), tmp_path / "kept")
        assert (done.exit_code, "Refused: database: UndefinedTable (42P01) in " in done.output) == (1, True), (
            done.output
        )


def source_bytes(source: Installation, kept: Manifest) -> bytes:
    return b"".join(source.store.iterate(kept.objects[0]))
