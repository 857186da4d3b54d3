"""The gateway as a process: light, and alone on this machine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from shared.addresses import is_loopback

HEAVY = ("torch", "numpy", "celery", "kombu", "redis", "pydicom", "lightgbm", "monai")
SETTINGS = {
    "CTCLIP_DATABASE_URL": "postgresql+psycopg2://nobody@127.0.0.1:1/none",
    "CTCLIP_STORAGE_ENDPOINT": "127.0.0.1:1",
    "CTCLIP_STORAGE_ACCESS_KEY": "key",
    "CTCLIP_STORAGE_SECRET_KEY": "secret",
}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **SETTINGS, **environment},
    )


class TestTheImportPath:
    def test_holds_no_model_no_array_and_no_broker(self) -> None:
        code = f"import gateway.__main__, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
        done = run("-c", code)
        assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


class TestTheAddress:
    @pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
    def test_on_loopback_is_allowed(self, host: str) -> None:
        assert is_loopback(host)

    @pytest.mark.parametrize(
        "host", ["0.0.0.0", "::", "192.168.1.7", "8.8.8.8", "ct.example.org", "", "::ffff:10.0.0.1"]
    )
    def test_beyond_it_is_not(self, host: str) -> None:
        assert not is_loopback(host)

    def test_beyond_it_is_refused_at_the_start(self) -> None:
        done = run("-m", "gateway", CTCLIP_GATEWAY_HOST="0.0.0.0")
        assert done.returncode == 1
        assert "only loopback" in done.stderr
