"""`ctclip acceptance run` with a key, against a real gateway: what is answered at the door, without a worker."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from client.acceptance.command import app
from client.acceptance.manifest import read_manifest
from client.acceptance.running import run_corpus
from client.acceptance.sending import Platform
from gateway.access.keys import make_key
from gateway.access.scopes import Scope
from phantom.corpus.chest import SMALL, Chest
from phantom.corpus.manifest import write_corpus
from phantom.corpus.registry import choose_cases
from shared.settings import Settings
from tests.gateway.access.conftest import KeyMaker
from tests.gateway.conftest import RunningGateway, running_gateway

AT_THE_DOOR = ("B1", "B3-announced", "B5-wrong", "B39", "B40-long-key", "B40-nul", "B40-carriage-return")
"""Rows and cases that no job comes of: forms, raw bodies, and a request that no library would send."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, choose_cases(AT_THE_DOOR), Chest(7, SMALL))
    return folder


def differences_of(url: str, corpus: Path, key: str) -> dict[str, tuple[str, ...]]:
    platform = Platform(url, run_id=uuid.uuid4().hex, limit_s=10, api_key=key)
    try:
        verdicts = run_corpus(read_manifest(corpus), platform, at_once=4)
    finally:
        platform.close()
    return {verdict.id: verdict.differences for verdict in verdicts if not verdict.has_passed}


def ask_with(authorization: str, **sending: object) -> Mapping[str, Any]:
    """Return a case that says itself who asks, and is not known."""
    return {
        "id": f"A{len(sending)}",
        "title": "Another key",
        "file": "B1-empty-body.zip",
        "send": {"headers": {"Authorization": authorization}, **sending},
        "expected": {"outcome": "refused", "status": 401, "code": "credentials_invalid"},
    }


class TestARunWithAKey:
    def test_gets_the_answers_of_a_run_without_one_where_none_is_asked_for(
        self, guarded: RunningGateway, corpus: Path, key_of: KeyMaker
    ) -> None:
        key = key_of(Scope.JOBS_WRITE, Scope.JOBS_READ)
        assert differences_of(guarded.url, corpus, key) == {}

    def test_waits_where_the_key_has_asked_too_often(
        self, guarded_settings: Settings, corpus: Path, key_of: KeyMaker
    ) -> None:
        narrow = guarded_settings.model_copy(update={"rate_limit_per_minute": 240, "rate_limit_burst": 4})
        with running_gateway(narrow) as gateway:
            assert differences_of(gateway.url, corpus, key_of()) == {}

    def test_lets_a_case_about_keys_send_its_own(
        self, guarded: RunningGateway, corpus: Path, tmp_path: Path, key_of: KeyMaker
    ) -> None:
        unknown = f"Bearer {make_key().text}"
        cases = [ask_with(unknown), ask_with(unknown, is_raw=True), ask_with(unknown, is_raw=True, content_length=0)]
        (tmp_path / "B1-empty-body.zip").touch()
        (tmp_path / "manifest.json").write_text(
            json.dumps({"version": 1, "scale": "small", "limits": {}, "cases": cases})
        )
        assert differences_of(guarded.url, tmp_path, key_of()) == {}


class TestTheCommand:
    def test_says_how_to_give_a_key_where_one_is_asked_for(self, guarded: RunningGateway, corpus: Path) -> None:
        done = CliRunner().invoke(app, ["run", str(corpus), "--api-url", guarded.url], env={"CTCLIP_API_KEY": None})
        assert done.exit_code == 2
        assert "--api-key" in done.stderr
        assert "CTCLIP_API_KEY" in done.stderr

    def test_sends_the_key_of_the_environment_and_prints_none(
        self, guarded: RunningGateway, corpus: Path, key_of: KeyMaker
    ) -> None:
        key = key_of()
        command = ["run", str(corpus), "--json", "--api-url", guarded.url]
        done = CliRunner().invoke(app, command, env={"CTCLIP_API_KEY": key})
        assert done.exit_code == 0, done.stdout
        assert json.loads(done.stdout)["failed"] == 0
        assert key not in done.output

    def test_does_not_print_a_key_that_is_refused(self, guarded: RunningGateway, corpus: Path) -> None:
        key = make_key().text
        done = CliRunner().invoke(app, ["run", str(corpus), "--api-url", guarded.url, "--api-key", key])
        assert done.exit_code == 2
        assert "Check --api-key or CTCLIP_API_KEY" in done.stderr
        assert key not in done.output
