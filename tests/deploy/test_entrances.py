"""What people read of a platform that runs: where it is entered, where its secrets are, how it is stopped."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from deploy.embedded.command import STARTED_AT, describe_stop
from deploy.embedded.processes import identify_self
from deploy.embedded.progress import print_entrances
from deploy.embedded.report import StackPhase, StackReport
from deploy.embedded.state_folder import StateFolder

STATE = "/srv/somebody/with/a/long/name/.local/state/ctclip"


def show_entrances(state: str) -> list[str]:
    console = Console(file=io.StringIO(), width=100)
    api, flower = "http://127.0.0.1:20000", "http://127.0.0.1:20001"
    report = StackReport(StackPhase.READY, identify_self(), state, url=api, flower_url=flower)
    print_entrances(console, report, how_to_stop="make down")
    assert isinstance(console.file, io.StringIO)
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]


class TestEntrances:
    def test_flower_user_and_password_have_lines_of_their_own(self) -> None:
        lines = show_entrances(STATE)
        assert "Flower http://127.0.0.1:20001" in lines
        assert "user ctclip" in lines
        assert f"password flower_password in {STATE}/secrets.json" in lines

    def test_no_line_is_longer_than_a_hundred_columns(self) -> None:
        assert max(map(len, show_entrances(STATE))) <= 100


class TestHowToStop:
    def test_is_in_the_words_of_make_when_make_started_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("CTCLIP_STATE", raising=False)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        monkeypatch.setenv(STARTED_AT, "1.0")
        assert describe_stop(StateFolder(tmp_path.resolve() / "ctclip")) == "make down"

    def test_is_a_command_otherwise(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("CTCLIP_STATE", raising=False)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        monkeypatch.delenv(STARTED_AT, raising=False)
        assert describe_stop(StateFolder(tmp_path.resolve() / "ctclip")).endswith("ctclip down")

    def test_names_a_folder_that_the_environment_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CTCLIP_STATE", str(tmp_path))
        folder = tmp_path.resolve()
        assert describe_stop(StateFolder(folder)).endswith(f"ctclip down --state {folder}")

    def test_names_a_folder_that_is_not_the_default(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(STARTED_AT, "1.0")
        folder = tmp_path.resolve() / "other"
        assert describe_stop(StateFolder(folder)).endswith(f"ctclip down --state {folder}")
