"""Logs tell where an error came from, and never the value that it quotes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from shared.errors import Defect
from shared.telemetry import describe_exception

MARKER = "Doe^Jane"


def parse() -> None:
    int(MARKER)


def look_up() -> None:
    try:
        parse()
    except ValueError:
        dict[str, str]()[MARKER]


def look_up_from() -> None:
    try:
        parse()
    except ValueError as error:
        raise KeyError(MARKER) from error


def look_up_from_nothing() -> None:
    try:
        parse()
    except ValueError:
        raise KeyError(MARKER) from None


def describe(error: BaseException) -> str:
    return describe_exception((type(error), error, error.__traceback__))


class TestTracebacks:
    @pytest.mark.parametrize("fail", [parse, look_up, look_up_from, look_up_from_nothing])
    def test_name_the_error_and_its_place_but_no_value(self, fail: Callable[[], None]) -> None:
        with pytest.raises((ValueError, KeyError)) as raised:
            fail()
        described = describe(raised.value)
        assert raised.value.__class__.__qualname__ in described
        assert f"in {fail.__name__}" in described
        assert MARKER not in described

    @pytest.mark.parametrize("fail", [look_up, look_up_from])
    def test_tell_first_what_led_to_the_error(self, fail: Callable[[], None]) -> None:
        with pytest.raises(KeyError) as raised:
            fail()
        described = describe(raised.value)
        assert described.index("builtins.ValueError") < described.index("builtins.KeyError")

    def test_leave_out_what_was_set_aside(self) -> None:
        with pytest.raises(KeyError) as raised:
            look_up_from_nothing()
        assert "builtins.ValueError" not in describe(raised.value)

    def test_keep_what_our_own_errors_say(self) -> None:
        assert describe(Defect("storage: an object is gone")) == "shared.errors.Defect: storage: an object is gone\n"


SCRIPT = """
import logging, threading
from pydantic import SecretStr
from shared.settings import Settings
from shared.telemetry import configure_logging, get_logger
from shared.tracing import start_span

keys = dict.fromkeys(("storage_endpoint", "storage_access_key", "storage_secret_key"), "none")
configure_logging(Settings(database_url=SecretStr("none"), **keys), process="worker-intake")

def work():
    with start_span("run", traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"):
        get_logger().info("ours", job_id="7", stage="intake")
        logging.getLogger("a.library").info("in passing")
        logging.getLogger("a.library").warning("theirs")

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


class TestALineOfTheLog:
    def test_is_json_with_process_and_trace_from_any_thread_and_any_library(self) -> None:
        ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
        ours, theirs = map(json.loads, ran.stderr.splitlines())
        assert (ours["event"], ours["job_id"], ours["stage"], ours["level"]) == ("ours", "7", "intake", "info")
        assert (theirs["event"], theirs["level"]) == ("theirs", "warning")
        for line in (ours, theirs):
            assert (line["process"], line["trace_id"]) == ("worker-intake", "4bf92f3577b34da6a3ce929d0e0e4736")
            assert line["timestamp"].endswith("Z")
