"""The supervisor keeps real servers and programs running."""

from __future__ import annotations

import json
import os
import signal
import stat

import psutil
import psycopg2
import pytest
import redis
import typer
from typer.testing import CliRunner, Result

from deploy.embedded.child import ChildState
from deploy.embedded.command import up
from deploy.embedded.problems import AlreadyRunning
from deploy.embedded.report import StackPhase
from deploy.embedded.state_folder import read_environment
from shared.settings import Settings
from shared.storage import ObjectStore
from tests.deploy.conftest import SmallStack
from tests.stack.running import wait_until

SERVERS = ("postgres", "broker", "storage")
# The promise is five seconds on an idle machine; a test must hold on a busy one.
BACK_WITHIN_S = 60.0


def make_settings(stack: SmallStack) -> Settings:
    given = read_environment(stack.folder.root)
    return Settings(**{name.removeprefix("CTCLIP_").lower(): value for name, value in given.items()})  # type: ignore[arg-type]  # parsed by pydantic


class TestReadyStack:
    def test_says_where_it_is_reached_and_who_runs(self, started_stack: SmallStack) -> None:
        public = started_stack.report().public()
        assert public["phase"] == StackPhase.READY
        assert public["api_key"] is None
        assert str(public["url"]).startswith("http://127.0.0.1:")
        pids = public["pids"]
        assert isinstance(pids, dict)
        assert set(pids) == {*SERVERS, "waiter", "parent", "launcher"}
        assert all(psutil.pid_exists(pid) for pid in pids.values())

    def test_listens_on_loopback_only(self, started_stack: SmallStack) -> None:
        for name in SERVERS:
            process = started_stack.process(name)
            assert process is not None
            addresses = {c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN}
            assert addresses == {"127.0.0.1"}, name

    def test_keeps_what_holds_secrets_to_its_owner(self, started_stack: SmallStack) -> None:
        folder = started_stack.folder
        for path in (folder.credentials_file, folder.environment_file, folder.broker / "valkey.conf"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name
        assert stat.S_IMODE(folder.root.stat().st_mode) & 0o066 == 0

    def test_shows_no_secret_in_a_command_line(self, started_stack: SmallStack) -> None:
        secrets = [
            value
            for name, value in read_environment(started_stack.folder.root).items()
            if name in {"CTCLIP_STORAGE_SECRET_KEY", "CTCLIP_STORAGE_ACCESS_KEY"}
        ]
        secrets += [address.split(":")[2].split("@")[0] for address in self._addresses(started_stack)]
        shown = " ".join(" ".join(process.cmdline()) for process in self._processes(started_stack))
        assert len(secrets) == 4
        assert not [secret for secret in secrets if secret in shown]

    def test_its_settings_lead_to_its_servers(self, started_stack: SmallStack) -> None:
        settings = make_settings(started_stack)
        address = settings.database_url.get_secret_value().replace("+psycopg2", "")
        psycopg2.connect(address).close()
        with redis.Redis.from_url(settings.broker_url.get_secret_value()) as broker:
            assert broker.ping()
        ObjectStore(settings).ensure_bucket()

    def test_refuses_a_second_launcher(self, started_stack: SmallStack) -> None:
        with pytest.raises(AlreadyRunning, match="already runs"):
            started_stack.start()
        assert started_stack.report().phase is StackPhase.READY

    @pytest.mark.parametrize("how", [(), ("--detach",)])
    def test_is_shown_by_a_second_up(self, started_stack: SmallStack, how: tuple[str, ...]) -> None:
        done = self._up(started_stack, *how)
        assert done.exit_code == 0, done.output
        report = started_stack.report()
        for told in (f"runs already at {report.url}", f"{report.url}/docs", str(report.flower_url), "ctclip down"):
            assert told in done.stdout

    def test_is_described_by_a_second_up_as_by_the_first(self, started_stack: SmallStack) -> None:
        done = self._up(started_stack, "--json")
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout) == started_stack.report().public()

    def _up(self, stack: SmallStack, *options: str) -> Result:
        application = typer.Typer()
        application.command()(up)
        return CliRunner().invoke(application, [*options, "--state", str(stack.folder.root)], env={"COLUMNS": "300"})

    def _addresses(self, stack: SmallStack) -> list[str]:
        environment = read_environment(stack.folder.root)
        return [environment["CTCLIP_DATABASE_URL"], environment["CTCLIP_BROKER_URL"]]

    def _processes(self, stack: SmallStack) -> list[psutil.Process]:
        found = [stack.process(name) for name in stack.report().processes]
        return [process for process in found if process is not None]


class TestKilledProcess:
    @pytest.mark.parametrize("name", [*SERVERS, "waiter"])
    def test_is_started_again_on_its_own(self, started_stack: SmallStack, name: str) -> None:
        killed = started_stack.report().processes[name].identity.pid
        os.kill(killed, signal.SIGKILL)

        def is_back() -> bool:
            process = started_stack.report().processes[name]
            return process.identity.pid != killed and process.state is ChildState.READY

        wait_until(is_back, f"{name} is back", BACK_WITHIN_S)
        wait_until(lambda: started_stack.report().phase is StackPhase.READY, "the stack is whole again")

    def test_leaves_the_rows_of_the_database(self, started_stack: SmallStack) -> None:
        address = make_settings(started_stack).database_url.get_secret_value().replace("+psycopg2", "")
        self._run(address, "CREATE TABLE kept (number int); INSERT INTO kept VALUES (41)")
        killed = started_stack.report().processes["postgres"].identity.pid
        os.kill(killed, signal.SIGKILL)
        wait_until(
            lambda: (
                started_stack.report().processes["postgres"].identity.pid != killed
                and started_stack.report().phase is StackPhase.READY
            ),
            "PostgreSQL is back",
        )
        assert self._run(address, "SELECT number FROM kept") == 41

    def _run(self, address: str, statement: str) -> object:
        connection = psycopg2.connect(address)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(statement)
                row = cursor.fetchone() if cursor.description else None
                return row[0] if row else None
        finally:
            connection.close()
