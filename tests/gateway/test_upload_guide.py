"""The guide to uploads in parts does what it says, as it is written."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from tests.gateway.conftest import RunningGateway
from tests.pages import ROOT, Shell, Walk

RETRY = 'curl -sS -X POST "$URL/v1/jobs/$JOB/retry"'
PROGRAMS = ("bash", "curl", "jq", "openssl", "sha256sum")


@pytest.mark.skipif(not all(map(shutil.which, PROGRAMS)), reason="the guide is for a shell with curl, jq and openssl")
class TestTheGuide:
    def test_sends_a_file_in_parts_and_makes_a_job_of_it(self, gateway: RunningGateway, tmp_path: Path) -> None:
        file = tmp_path / "study.zip"
        file.write_bytes(b"PK\x03\x04" + bytes(range(256)) * 3000)
        printed = Walk(
            ROOT / "docs" / "uploads.md",
            Shell(tmp_path, {"URL": gateway.url, "FILE": str(file)}),
            left_out={RETRY: "needs a job that failed: test_retrying.py has one"},
        ).go()
        assert hashlib.sha256(file.read_bytes()).hexdigest() in printed
        assert '"state": "queued"' in printed
        assert '"site": "north"' in printed
