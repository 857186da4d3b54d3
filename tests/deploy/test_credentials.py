"""Secrets of a state folder: made once, kept for their owner alone, and completed when a version brings a new one."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from deploy.embedded.credentials import PSEUDONYM_KEY, RECEIPT_KEY, load_or_create_credentials
from deploy.embedded.problems import StackProblem
from deploy.embedded.state_folder import StateFolder, read_json, write_json
from shared.pseudonyms import Pseudonyms
from tests.deploy.conftest import SmallStack


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return StateFolder.prepare(tmp_path / "state")


class TestKeys:
    def test_is_long_enough_and_stays_the_same(self, folder: StateFolder) -> None:
        made = load_or_create_credentials(folder)
        assert Pseudonyms(made.pseudonym_key.encode()).key_id
        assert load_or_create_credentials(folder) == made
        assert stat.S_IMODE(folder.credentials_file.stat().st_mode) == 0o600

    def test_is_added_to_a_folder_that_is_older_than_it(self, folder: StateFolder) -> None:
        made = load_or_create_credentials(folder)
        older = dict(read_json(folder.credentials_file) or {})
        del older["pseudonym_key"], older["receipt_key"], older["api_key"]
        write_json(folder.credentials_file, older)
        folder.postgres.mkdir()
        completed = load_or_create_credentials(folder)
        assert completed.postgres_password == made.postgres_password
        assert load_or_create_credentials(folder) == completed

    def test_of_the_environment_comes_first(self, folder: StateFolder) -> None:
        made = load_or_create_credentials(folder)
        own = {PSEUDONYM_KEY: made.pseudonym_key, RECEIPT_KEY: made.receipt_key}
        assert made.choose_keys({}) == own
        assert made.choose_keys({PSEUDONYM_KEY: "the site's"}) == {**own, PSEUDONYM_KEY: "the site's"}

    def test_of_receipts_that_is_no_hexadecimal_stops_the_start(self, small_stack: SmallStack) -> None:
        with pytest.raises(StackProblem, match=r"CTCLIP_RECEIPT_KEY: .*expected 32 bytes in hexadecimal") as refused:
            small_stack.start(CTCLIP_RECEIPT_KEY="hunter2")
        assert "hunter2" not in str(refused.value)

    def test_that_is_too_short_stops_the_start(self, small_stack: SmallStack) -> None:
        with pytest.raises(StackProblem, match=r"CTCLIP_PSEUDONYM_KEY must be at least 32 bytes"):
            small_stack.start(CTCLIP_PSEUDONYM_KEY="hunter2")
