"""Without its key intake does not start, and says what to do."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from pydantic import SecretStr

from deploy.embedded.servers import ServerSet
from shared.pseudonyms import UnusableSecret
from shared.settings import Settings
from workers.intake.stage import make_stage


class TestIntake:
    @pytest.mark.parametrize("key", [None, SecretStr("too short")])
    def test_is_not_made_without_a_sound_key(self, settings: Settings, key: SecretStr | None) -> None:
        with pytest.raises(UnusableSecret):
            make_stage(settings.model_copy(update={"pseudonym_key": key}))


class TestAWorker:
    @pytest.mark.usefixtures("store")
    def test_ends_with_a_sentence_that_helps(self, servers: ServerSet) -> None:
        environment = {**os.environ, **servers.environment, "CTCLIP_PSEUDONYM_KEY": "too short"}
        command = [sys.executable, "-m", "workers", "--stages", "intake"]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        last = ended.stderr.strip().splitlines()[-1]
        assert ended.returncode == 1
        assert last.startswith("This worker cannot start: CTCLIP_PSEUDONYM_KEY must be at least 32 bytes long.")
        assert "too short" not in ended.stderr
