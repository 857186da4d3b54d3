"""`ctclip doctor`, with each link really broken: it names that one, says what to do, and never falls over itself."""

from __future__ import annotations

import json
import re
import shutil
import socket
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis
from sqlalchemy import Engine, delete, text
from sqlalchemy.engine import make_url
from typer import Typer
from typer.testing import CliRunner

from deploy.doctor.broker import look_at_broker
from deploy.doctor.command import doctor
from deploy.doctor.database import judge_skew, look_at_clock, look_at_database
from deploy.doctor.device import Surroundings, look_at_device
from deploy.doctor.examination import examine, look_at_all
from deploy.doctor.finding import Finding, Link, Verdict
from deploy.doctor.room import look_at_room
from deploy.doctor.storage import look_at_storage
from deploy.doctor.webhooks import look_at_webhooks
from deploy.doctor.weights import look_at_weights
from model_weights.catalogue import CATALOGUE_FILE
from shared.database import make_engine, transaction
from shared.settings import Settings, get_settings
from shared.storage import ObjectStore
from shared.tables import WebhookEndpoint
from workers.runtime.celery_app import make_celery

Found = dict[str, Finding]


def gather(findings: Iterator[Finding]) -> Found:
    return {finding.check: finding for finding in findings}


def change(settings: Settings, **values: object) -> Settings:
    """Return settings with other values, parsed as those of the environment are."""
    named = {name: value for name, value in settings if value is not None}
    return Settings.model_validate({**named, **values})


def require_broken(finding: Finding, told: str) -> None:
    assert finding.verdict is Verdict.BROKEN
    assert re.search(told, finding.told)
    assert finding.advice


@pytest.fixture
def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def change_url(url: SecretStr, **parts: object) -> str:
    changed = make_url(url.get_secret_value()).set(**parts)  # type: ignore[arg-type]  # parts of an address
    return changed.render_as_string(hide_password=False)


def database_url(settings: Settings, **parts: object) -> str:
    return change_url(settings.database_url, **parts)


@contextmanager
def looking_at(settings: Settings, **parts: object) -> Iterator[Found]:
    changed = change(settings, database_url=database_url(settings, **parts))
    engine = make_engine(changed, pool_size=1)
    try:
        yield gather(look_at_database(engine, changed))
    finally:
        engine.dispose()


@contextmanager
def autocommitting(engine: Engine) -> Iterator[Callable[[str], object]]:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield lambda statement: connection.execute(text(statement))


@contextmanager
def reading_role(engine: Engine) -> Iterator[str]:
    """A role that may read all tables and write to none."""
    role = f"reader_{uuid.uuid4().hex[:8]}"
    with autocommitting(engine) as execute:
        execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
        execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
        try:
            yield role
        finally:
            execute(f"DROP OWNED BY {role}")
            execute(f"DROP ROLE {role}")


class TestTheDatabase:
    def test_that_is_well_is_so_in_every_part(self, engine: Engine, settings: Settings) -> None:
        with looking_at(settings) as found:
            assert {finding.verdict for finding in found.values()} == {Verdict.OK}
            assert set(found) == {"reachable", "migrated", "privileges", "connections"}

    def test_that_is_not_there(self, settings: Settings, closed_port: int) -> None:
        with looking_at(settings, port=closed_port) as found:
            require_broken(found["reachable"], "Connection refused")

    def test_whose_name_nobody_knows(self, settings: Settings) -> None:
        with looking_at(settings, host="database.invalid") as found:
            require_broken(found["reachable"], "no machine is known by the name database.invalid")

    def test_that_knows_another_password_tells_so_and_not_the_password(self, settings: Settings) -> None:
        with looking_at(settings, password="not-the-one") as found:
            require_broken(found["reachable"], "password authentication failed")
            assert "not-the-one" not in str(found)

    def test_that_was_not_migrated(self, engine: Engine, settings: Settings) -> None:
        name = f"empty_{uuid.uuid4().hex[:8]}"
        with autocommitting(engine) as execute:
            execute(f"CREATE DATABASE {name}")
        with looking_at(settings, database=name) as found:
            require_broken(found["migrated"], "revision none")
            assert "python -m migrations" in found["migrated"].advice

    def test_that_gives_us_too_few_rights(self, engine: Engine, settings: Settings) -> None:
        with reading_role(engine) as role, looking_at(settings, username=role, password="x") as found:
            require_broken(found["privileges"], "lacks INSERT on")

    def test_that_only_reads(self, settings: Settings, engine: Engine) -> None:
        with reading_role(engine) as role:
            with autocommitting(engine) as execute:
                execute(f"ALTER ROLE {role} SET default_transaction_read_only = on")
            with looking_at(settings, username=role, password="x") as found:
                require_broken(found["writable"], "takes no writes")


class TestTheClock:
    def test_of_the_database_is_compared_with_ours(self, engine: Engine) -> None:
        assert gather(look_at_clock(engine))["skew"].verdict is Verdict.OK

    @pytest.mark.parametrize(
        ("skew_s", "verdict", "side"),
        [(0.1, Verdict.OK, "behind"), (-5, Verdict.WARNING, "ahead of"), (3600, Verdict.BROKEN, "behind")],
    )
    def test_that_is_off_is_worse_the_more_it_is(self, skew_s: float, verdict: Verdict, side: str) -> None:
        finding = judge_skew(skew_s)
        assert finding.verdict is verdict
        assert side in finding.told


def look_at_changed_broker(settings: Settings, **parts: object) -> Found:
    url = change_url(settings.broker_url, **parts)
    changed = change(settings, broker_url=url)
    return gather(look_at_broker(make_celery(changed), changed))


class TestTheBroker:
    def test_that_is_well_takes_a_probe_and_keeps_nothing_of_it(self, settings: Settings) -> None:
        client = Redis.from_url(settings.broker_url.get_secret_value())
        found = look_at_changed_broker(settings)
        assert {finding.verdict for finding in found.values()} == {Verdict.OK}
        keys: Any = client.keys("*")
        assert not [key for key in keys if b"doctor" in key]
        client.close()

    def test_that_is_not_there(self, settings: Settings, closed_port: int) -> None:
        require_broken(look_at_changed_broker(settings, port=closed_port)["reachable"], "Connection refused")

    def test_that_knows_another_password_does_not_tell_it(self, settings: Settings) -> None:
        found = look_at_changed_broker(settings, password="not-the-one")
        require_broken(found["reachable"], "takes no message")
        assert "not-the-one" not in str(found)

    def test_that_throws_messages_away(self, settings: Settings) -> None:
        client = Redis.from_url(settings.broker_url.get_secret_value())
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            found = look_at_changed_broker(settings)["memory"]
        finally:
            client.config_set("maxmemory-policy", "noeviction")
            client.close()
        assert found.verdict is Verdict.WARNING
        assert "noeviction" in found.advice


class TestTheStorage:
    def test_that_is_well_keeps_no_probe(self, settings: Settings, store: ObjectStore) -> None:
        found = gather(look_at_storage(settings))
        assert (found["bucket"].verdict, found["probe"].verdict) == (Verdict.OK, Verdict.OK)
        assert not [key for key, _ in store.iterate_keys() if key.startswith("doctor/")]

    def test_that_is_not_there(self, settings: Settings, closed_port: int) -> None:
        found = gather(look_at_storage(change(settings, storage_endpoint=f"127.0.0.1:{closed_port}")))
        require_broken(found["reachable"], "Connection refused")

    def test_that_knows_another_secret_does_not_tell_it(self, settings: Settings, store: ObjectStore) -> None:
        found = gather(look_at_storage(change(settings, storage_secret_key="not-the-one")))
        require_broken(found["bucket"], "cannot be used")
        assert "not-the-one" not in str(found)

    def test_without_our_bucket(self, settings: Settings) -> None:
        found = gather(look_at_storage(change(settings, storage_bucket="nobody-made-it")))
        require_broken(found["bucket"], "the bucket is missing")
        assert "CTCLIP_STORAGE_BUCKET" in found["bucket"].advice

    def test_on_a_full_disk(self, settings: Settings, store: ObjectStore, tmp_path: Path) -> None:
        full = change(settings, storage_watch_dir=tmp_path, storage_reserve_bytes=10**18)
        require_broken(gather(look_at_storage(full))["space"], "GB are free where objects lie")


@pytest.fixture
def imported(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with a copy of the demo weights as imported ones, which a test may spoil."""
    catalogue = CATALOGUE_FILE.read_text().replace('"weights_profile" = "demo"', '"weights_profile" = "full"')
    (tmp_path / "catalogue.toml").write_text(catalogue)
    shutil.copytree(CATALOGUE_FILE.parent / "demo", tmp_path / "demo")
    return change(settings, weights_profile="full", weights_dir=tmp_path)


def find_weights(settings: Settings, stage: str) -> Path:
    assert settings.weights_dir is not None
    return next((settings.weights_dir / "demo" / stage).glob("weights*"))


FIRST_THRESHOLD, OTHER_THRESHOLD = r'(\[models\.thresholds\]\n"[^"]+" = 0\.)', r"\g<1>1"


def drop_entries(settings: Settings, stage: str) -> None:
    assert settings.weights_dir is not None
    path = settings.weights_dir / "catalogue.toml"
    head, *entries = path.read_text().split("[[models]]")
    path.write_text("[[models]]".join([head, *(each for each in entries if f'"stage" = "{stage}"' not in each)]))


class TestTheWeights:
    def test_that_are_sound_are_as_pinned_and_the_fusion_answers(self, imported: Settings) -> None:
        found = gather(look_at_weights(imported))
        assert (found["installed"].verdict, found["digests"].verdict) == (Verdict.OK, Verdict.OK)
        assert found["fusion"].verdict in {Verdict.OK, Verdict.WARNING}

    def test_of_which_a_byte_was_changed(self, imported: Settings) -> None:
        path = find_weights(imported, "mednext")
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        require_broken(gather(look_at_weights(imported))["digests"], "not the one that the catalogue pins")

    def test_that_were_removed(self, imported: Settings) -> None:
        find_weights(imported, "mednext").unlink()
        require_broken(gather(look_at_weights(imported))["installed"], "is not there")

    def test_with_which_the_fusion_was_not_trained(self, imported: Settings) -> None:
        assert imported.weights_dir is not None
        path = imported.weights_dir / "catalogue.toml"
        name, entry = '"name" = "mednext-demo"', path.read_text()
        head, own = entry.split(name)
        path.write_text(head + name + own.replace('"normal" = 0.', '"normal" = 0.1', 1))
        found = gather(look_at_weights(imported))["fusion"]
        assert found.verdict is Verdict.WARNING
        assert "mednext" in found.told

    def test_of_imported_models_without_a_fusion_say_how_to_get_one(self, imported: Settings) -> None:
        drop_entries(imported, "fusion")
        found = gather(look_at_weights(imported))["installed"]
        require_broken(found, "No fusion is installed")
        assert "python -m training.site_fusion" in (found.advice or "")

    def test_a_model_that_cannot_run_for_want_of_masks_is_no_stranger_to_the_fusion(self, imported: Settings) -> None:
        assert imported.weights_dir is not None
        path = imported.weights_dir / "catalogue.toml"
        head, own = path.read_text().split('"name" = "fvlm-demo"')
        path.write_text(f'{head}"name" = "fvlm-demo"{re.sub(FIRST_THRESHOLD, OTHER_THRESHOLD, own, count=1)}')
        assert "fvlm" in gather(look_at_weights(imported))["fusion"].told
        drop_entries(imported, "segmentation")
        assert "fvlm" not in gather(look_at_weights(imported))["fusion"].told

    def test_that_nobody_installed(self, settings: Settings) -> None:
        assert gather(look_at_weights(change(settings, weights_profile="none")))["installed"].verdict is Verdict.WARNING


CPU_BUILD: dict[str, object] = {"torch": "2.13.0+cpu", "cuda_build": None, "devices": []}
CUDA_BUILD = {**CPU_BUILD, "torch": "2.13.0", "cuda_build": "13.0"}


def lay_out(folder: Path, *files: str, **environment: str) -> Surroundings:
    """Surroundings in which only the named files are there."""
    for name in files:
        (folder / name).touch()
    return Surroundings(folder / "version", folder / "control", environment)


def ask_torch(said: dict[str, object], surroundings: Surroundings | None = None) -> Finding:
    command = (sys.executable, "-c", f"print({json.dumps(json.dumps(said))})")
    return gather(look_at_device(command, surroundings))["gpu"]


class TestTheGpu:
    def test_that_is_not_there_is_no_fault(self, tmp_path: Path) -> None:
        found = ask_torch(CPU_BUILD, lay_out(tmp_path))
        assert found.verdict is Verdict.OK
        assert "models that run here" in found.told

    @pytest.mark.parametrize("said", [CPU_BUILD, CUDA_BUILD])
    def test_of_the_machine_that_control_was_not_given_is_asked_for_elsewhere(
        self, tmp_path: Path, said: dict[str, object]
    ) -> None:
        """Each container of a machine sees the version of the driver, whatever it was given."""
        found = ask_torch(said, lay_out(tmp_path, "version"))
        assert found.verdict is Verdict.UNKNOWN
        assert "docker compose exec worker-mednext ctclip doctor" in found.advice

    def test_that_a_worker_asks_for_and_was_not_given(self, tmp_path: Path) -> None:
        found = ask_torch(CUDA_BUILD, lay_out(tmp_path, "version", NVIDIA_VISIBLE_DEVICES="all"))
        assert found.verdict is Verdict.WARNING
        assert "was given none" in found.told

    def test_that_torch_is_not_built_for(self, tmp_path: Path) -> None:
        found = ask_torch(CPU_BUILD, lay_out(tmp_path, "version", "control"))
        assert found.verdict is Verdict.WARNING
        assert "built for the CPU" in found.told

    def test_that_torch_cannot_use(self, tmp_path: Path) -> None:
        require_broken(ask_torch(CUDA_BUILD, lay_out(tmp_path, "version", "control")), "cannot use it")

    def test_whose_driver_ends_the_process(self) -> None:
        killed = (sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
        require_broken(gather(look_at_device(killed))["torch"], "exit -11")

    def test_is_named_with_its_free_memory(self) -> None:
        device = {"name": "NVIDIA X", "free": 10_000_000_000, "total": 12_000_000_000}
        assert ask_torch({**CUDA_BUILD, "devices": [device]}).told == "NVIDIA X: 10.0 of 12.0 GB are free."


class TestTheScratchFolder:
    def test_that_is_no_folder(self, settings: Settings, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        require_broken(gather(look_at_room(change(settings, cache_dir=tmp_path / "file")))["scratch"], "cannot be")

    def test_on_a_full_disk(self, settings: Settings) -> None:
        full = change(settings, scratch_reserve_bytes=10**18)
        require_broken(gather(look_at_room(full))["space"], "a stage begins only with")


class TestWebhooks:
    def test_that_were_given_up_are_named(self, engine: Engine) -> None:
        endpoint = WebhookEndpoint(
            id=uuid.uuid4(),
            tenant="default",
            url="https://gone.example.org",
            events=[],
            is_enabled=False,
            disabled_reason="gone",
            secret="whsec_x",
        )
        with transaction(engine) as session:
            session.add(endpoint)
        try:
            found = gather(look_at_webhooks(engine))["endpoints"]
        finally:
            with transaction(engine) as session:
                session.execute(delete(WebhookEndpoint).where(WebhookEndpoint.id == endpoint.id))
        assert found.verdict is Verdict.WARNING
        assert str(endpoint.id) in found.told


class TestTheExamination:
    @pytest.mark.usefixtures("store")  # makes the bucket
    def test_of_servers_alone_misses_the_workers_and_control(self, engine: Engine, settings: Settings) -> None:
        links = {link.name: link for link in examine(settings)}
        assert links["database"].verdict is links["broker"].verdict is links["storage"].verdict is Verdict.OK
        found = {finding.check: finding for finding in links["workers"].findings}
        require_broken(found["stages"], "No worker answers for intake")
        require_broken(found["control"], "No control process")

    def test_of_nothing_that_answers_ends_and_names_each(self, settings: Settings, closed_port: int) -> None:
        dead = change(
            settings,
            database_url=database_url(settings, port=closed_port),
            broker_url=change_url(settings.broker_url, port=closed_port),
            storage_endpoint=f"127.0.0.1:{closed_port}",
        )
        links = {link.name: link for link in examine(dead)}
        assert [name for name, link in links.items() if link.verdict is Verdict.BROKEN] == [
            "database",
            "broker",
            "storage",
        ]
        assert links["workers"].verdict is links["webhooks"].verdict is links["clock"].verdict is Verdict.UNKNOWN

    def test_is_not_held_up_by_what_hangs_nor_ended_by_what_fails(self) -> None:
        release = threading.Event()

        def hang() -> Iterator[Finding]:
            release.wait()
            yield from ()

        def fail() -> Iterator[Finding]:
            yield from ()
            raise ZeroDivisionError

        found = {link.name: link for link in look_at_all({"hangs": hang, "fails": fail}, limit_s=0.5)}
        release.set()
        assert found["hangs"].findings[0].told.startswith("It did not come back")
        assert "ZeroDivisionError" in found["fails"].findings[0].told

    def test_tells_a_link_by_its_worst_finding(self) -> None:
        findings = [
            Finding("a", Verdict.OK, "."),
            Finding("b", Verdict.BROKEN, "."),
            Finding("c", Verdict.UNKNOWN, "."),
        ]
        assert Link("x", findings).verdict is Verdict.BROKEN


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[Typer]:
    """The command, in an environment that leads nowhere."""
    for name in ("CTCLIP_DATABASE_URL", "CTCLIP_SECRETS_DIR", "CTCLIP_STORAGE_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    get_settings.cache_clear()
    application = Typer()
    application.command()(doctor)
    yield application
    get_settings.cache_clear()


class TestTheCommand:
    def test_where_nothing_runs_says_what_to_start(self, app: Typer, tmp_path: Path) -> None:
        done = CliRunner().invoke(app, ["--state", str(tmp_path), "--json"])
        assert done.exit_code == 1, done.output
        told = json.loads(done.stdout)
        assert told["broken"] == ["settings"]
        assert "ctclip up" in told["links"]["settings"]["findings"][0]["advice"]

    def test_with_settings_that_cannot_be_used_names_them(self, app: Typer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CTCLIP_DATABASE_URL", "postgresql+psycopg2://localhost/x")
        done = CliRunner().invoke(app, [])
        assert done.exit_code == 1
        assert "CTCLIP_STORAGE_ENDPOINT" in done.stdout
        assert done.stdout.rstrip().endswith("Broken: settings.")
