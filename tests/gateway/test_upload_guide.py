"""The guide to uploads in parts does what it says, as it is written."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.gateway.conftest import RunningGateway

GUIDE = Path(__file__).parents[2] / "docs" / "uploads.md"
PROGRAMS = ("bash", "curl", "jq", "openssl", "sha256sum")


@pytest.mark.skipif(not all(map(shutil.which, PROGRAMS)), reason="the guide is for a shell with curl, jq and openssl")
class TestTheGuide:
    def test_sends_a_file_in_parts_and_makes_a_job_of_it(self, gateway: RunningGateway, tmp_path: Path) -> None:
        (script,) = re.findall(r"```bash\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
        file = tmp_path / "study.zip"
        file.write_bytes(b"PK\x03\x04" + bytes(range(256)) * 3000)
        environment = {**os.environ, "URL": gateway.url, "FILE": str(file)}
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr + ran.stdout
        assert hashlib.sha256(file.read_bytes()).hexdigest() in ran.stdout
        assert '"state": "queued"' in ran.stdout
        assert '"site": "north"' in ran.stdout
