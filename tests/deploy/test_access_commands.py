"""`ctclip keys` and `ctclip audit`, on a database that the settings lead to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, text
from typer import Typer
from typer.testing import CliRunner, Result

from deploy.access import audit, keys
from deploy.embedded.first_key import register_first_key
from gateway.access.callers import Caller
from gateway.access.errors import CredentialsInvalid
from gateway.access.keys import make_key, parse_key
from gateway.access.repository import fetch_caller
from gateway.access.scopes import ALL_SCOPES, Scope
from shared.database import transaction
from shared.settings import Authentication, Settings, get_settings

Command = Callable[..., Result]


@pytest.fixture
def command(settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """Return a function that runs a command with the settings of the test."""
    monkeypatch.setenv("CTCLIP_STORAGE_ENDPOINT", settings.storage_endpoint)
    for name in ("database_url", "storage_access_key", "storage_secret_key"):
        monkeypatch.setenv(f"CTCLIP_{name.upper()}", getattr(settings, name).get_secret_value())
    get_settings.cache_clear()
    yield lambda app, *arguments: CliRunner().invoke(app, arguments)
    get_settings.cache_clear()


def make(command: Command, *arguments: str) -> dict[str, str]:
    done = run(command, keys.app, "create", "router", "--json", *arguments)
    made: dict[str, str] = json.loads(done.stdout)
    return made


def run(command: Command, app: Typer, *arguments: str, expected: int = 0) -> Result:
    done = command(app, *arguments)
    assert done.exit_code == expected, done.output
    return done


def find_caller(engine: Engine, written: str) -> Caller:
    key = parse_key(written)
    assert key is not None
    with transaction(engine) as session:
        return fetch_caller(session, key)


@contextmanager
def changed_actor(engine: Engine, sequence: int) -> Iterator[None]:
    """Change an entry behind the database's back, and put it right again for the tests that come after."""
    write_actor(engine, sequence, "nobody")
    try:
        yield
    finally:
        write_actor(engine, sequence, "command")


def write_actor(engine: Engine, sequence: int, actor: str) -> None:
    change = text("UPDATE audit_entries SET actor = :actor WHERE sequence = :sequence")
    with transaction(engine) as session:
        session.execute(text("ALTER TABLE audit_entries DISABLE TRIGGER append_only"))
        session.execute(change, {"actor": actor, "sequence": sequence})
        session.execute(text("ALTER TABLE audit_entries ENABLE TRIGGER append_only"))


class TestKeys:
    def test_made_for_a_tenant_reach_it_with_the_scopes_named(self, command: Command, engine: Engine) -> None:
        made = make(command, "--tenant", "ward-a", "--scope", "jobs:read", "--scope", "jobs:write", "--days", "2")
        caller = find_caller(engine, made["key"])
        assert (caller.tenant, set(caller.scopes)) == ("ward-a", {Scope.JOBS_READ, Scope.JOBS_WRITE})
        assert made["expires_at"] is not None
        assert make(command)["tenant"] == "default"

    def test_are_printed_once_alone_on_standard_output(self, command: Command, engine: Engine) -> None:
        printed = run(command, keys.app, "create", "first").stdout.strip()
        assert find_caller(engine, printed).scopes == ALL_SCOPES
        listed = run(command, keys.app, "list").stdout
        assert printed.split("_")[1] in listed
        assert printed.split("_")[2] not in listed

    def test_end_when_revoked(self, command: Command, engine: Engine) -> None:
        made = make(command)
        assert "revoked" in run(command, keys.app, "revoke", made["id"]).stdout
        with pytest.raises(CredentialsInvalid):
            find_caller(engine, made["key"])

    def test_that_are_not_there_or_name_no_tenant_are_refused(self, command: Command) -> None:
        run(command, keys.app, "revoke", "b0f1a1de-6c1f-4f0b-8f55-0b8d1f1e7a10", expected=1)
        run(command, keys.app, "create", "x", "--tenant", "Ward A", expected=2)


class TestTheLog:
    def test_is_whole_and_keeps_the_head_that_was_noted(self, command: Command) -> None:
        make(command)
        head = json.loads(run(command, audit.app, "verify", "--json").stdout)["head"]
        make(command)
        run(command, audit.app, "verify", "--expect", f"{head['sequence']}:{head['sha256']}")
        run(command, audit.app, "verify", "--expect", f"{head['sequence']}:{'0' * 64}", expected=1)
        last = run(command, audit.app, "list", "--after", str(head["sequence"])).stdout.splitlines()[-1]
        assert json.loads(last)["action"] == "ctclip keys create"

    def test_is_listed_from_its_newest_entries(self, command: Command) -> None:
        for _ in range(3):
            make(command)
        head = json.loads(run(command, audit.app, "verify", "--json").stdout)["head"]["sequence"]
        listed = run(command, audit.app, "list", "--limit", "2").stdout.splitlines()
        assert [json.loads(line)["sequence"] for line in listed] == [head - 1, head]

    def test_that_was_changed_is_told(self, command: Command, engine: Engine) -> None:
        make(command)
        sequence = json.loads(run(command, audit.app, "verify", "--json").stdout)["head"]["sequence"]
        with changed_actor(engine, sequence):
            done = run(command, audit.app, "verify", "--json", expected=1)
        assert json.loads(done.stdout)["broken_at"] == sequence


class TestTheFirstKey:
    def test_is_registered_once_and_only_where_keys_are_asked_for(self, settings: Settings, engine: Engine) -> None:
        key = make_key().text
        assert register_first_key(settings, key) is None
        asking = settings.model_copy(update={"authentication": Authentication.REQUIRED})
        assert register_first_key(asking, key) == register_first_key(asking, key) == key
        assert find_caller(engine, key).is_operator
