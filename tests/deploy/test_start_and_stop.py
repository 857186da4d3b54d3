"""Starting and stopping a stack leaves nothing behind, whoever dies on the way."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from deploy.embedded.credentials import load_or_create_credentials
from deploy.embedded.problems import StackProblem
from deploy.embedded.processes import find_orphans
from deploy.embedded.report import StackPhase
from deploy.embedded.servers import ServerSet
from deploy.embedded.state_folder import read_environment, read_json
from tests.deploy.conftest import SmallStack
from tests.stack.running import wait_until


def loner_pid(stack: SmallStack) -> int:
    return int((stack.folder.root / "loner").read_text())


class TestStop:
    def test_leaves_no_process_and_no_settings(self, small_stack: SmallStack) -> None:
        started = small_stack.start()
        assert small_stack.stop()
        identities = [process.identity for process in started.processes.values()]
        assert not [identity for identity in identities if identity.find()]
        assert not find_orphans(small_stack.folder.root)
        assert small_stack.report().phase is StackPhase.STOPPED
        with pytest.raises(StackProblem, match="No platform runs"):
            read_environment(small_stack.folder.root)

    def test_ends_what_a_program_started_in_a_session_of_its_own(self, small_stack: SmallStack) -> None:
        small_stack.start()
        loner = psutil.Process(loner_pid(small_stack))
        small_stack.stop()
        assert not loner.is_running()

    def test_says_that_nothing_ran(self, small_stack: SmallStack) -> None:
        assert not small_stack.stop()

    def test_makes_no_folder_where_there_is_none(self, small_stack: SmallStack, tmp_path: Path) -> None:
        from deploy.embedded import control  # noqa: PLC0415
        from deploy.embedded.state_folder import StateFolder  # noqa: PLC0415

        assert not control.stop(StateFolder(tmp_path / "nowhere"))
        assert not (tmp_path / "nowhere").exists()

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
    def test_follows_ctrl_c_and_the_closing_of_the_terminal(
        self, small_stack: SmallStack, number: signal.Signals
    ) -> None:
        started = small_stack.start()
        os.kill(started.launcher.pid, number)
        wait_until(lambda: not small_stack.is_running, "the launcher ends", 20)
        assert not find_orphans(small_stack.folder.root)


class TestLostTerminal:
    def test_neither_ends_the_stack_nor_leaves_a_process(self, small_stack: SmallStack) -> None:
        assert small_stack.start("unheard").phase is StackPhase.READY
        assert small_stack.stop()
        assert small_stack.report().phase is StackPhase.STOPPED
        assert not find_orphans(small_stack.folder.root)


class TestSecondStart:
    def test_finds_the_same_data_ports_and_secrets(self, small_stack: SmallStack) -> None:
        first = small_stack.start()
        settings = read_environment(small_stack.folder.root)
        cluster = (small_stack.folder.postgres / "PG_VERSION").stat().st_ino
        small_stack.stop()
        second = small_stack.start()
        assert read_environment(small_stack.folder.root) == settings
        assert (small_stack.folder.postgres / "PG_VERSION").stat().st_ino == cluster
        assert second.url == first.url

    def test_refuses_a_database_whose_secrets_are_lost(self, small_stack: SmallStack) -> None:
        small_stack.folder.postgres.mkdir()
        with pytest.raises(StackProblem, match=r"secrets\.json is missing"):
            load_or_create_credentials(small_stack.folder)


class TestKilledLauncher:
    def test_leaves_nothing_that_the_next_start_does_not_end(self, small_stack: SmallStack) -> None:
        first = small_stack.start()
        os.kill(first.launcher.pid, signal.SIGKILL)
        second = small_stack.start()
        left = {process.pid for process in find_orphans(small_stack.folder.root)}
        old = {process.identity.pid for process in first.processes.values()}
        assert not left & old
        assert second.phase is StackPhase.READY

    def test_is_cleaned_up_by_down(self, small_stack: SmallStack) -> None:
        first = small_stack.start()
        loner = psutil.Process(loner_pid(small_stack))
        os.kill(first.launcher.pid, signal.SIGKILL)
        assert small_stack.stop()
        assert not find_orphans(small_stack.folder.root)
        assert not loner.is_running()


class TestFailedStart:
    def test_names_the_program_and_the_end_of_its_log(self, small_stack: SmallStack) -> None:
        with pytest.raises(StackProblem, match=r"(?s)breaker ended 5 times.*the reason stands in the log"):
            small_stack.start("breaking")
        assert not find_orphans(small_stack.folder.root)
        assert small_stack.report().phase is StackPhase.FAILED

    def test_names_the_migration(self, small_stack: SmallStack) -> None:
        with pytest.raises(StackProblem, match=r"(?s)schema.*the reason stands in the log"):
            small_stack.start("unmigrated")
        assert not find_orphans(small_stack.folder.root)

    def test_names_a_setting_that_cannot_be_used(self, small_stack: SmallStack) -> None:
        with pytest.raises(StackProblem, match="CTCLIP_UPLOAD_LIMIT_BYTES"):
            small_stack.start(CTCLIP_UPLOAD_LIMIT_BYTES="much")

    def test_refuses_an_address_beyond_this_machine_before_anything_starts(self, small_stack: SmallStack) -> None:
        with pytest.raises(StackProblem, match=r"CTCLIP_GATEWAY_HOST=0\.0\.0\.0 may be reached"):
            small_stack.start(CTCLIP_GATEWAY_HOST="0.0.0.0")
        assert not small_stack.report().processes

    def test_asks_for_the_keys_of_an_external_storage(self, small_stack: SmallStack) -> None:
        with pytest.raises(StackProblem, match="CTCLIP_STORAGE_ACCESS_KEY"):
            small_stack.start(CTCLIP_STORAGE_ENDPOINT="storage.invalid:9000")


class TestExternalServers:
    def test_take_the_place_of_the_embedded_ones(self, small_stack: SmallStack, servers: ServerSet) -> None:
        report = small_stack.start(**servers.environment)
        assert set(report.processes) == {"waiter", "parent"}
        environment = read_environment(small_stack.folder.root)
        assert {name: environment[name] for name in servers.environment} == servers.environment
        assert read_json(small_stack.folder.ports_file) is not None
