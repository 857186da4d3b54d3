"""Logs tell where an error came from, and never the value that it quotes."""

from __future__ import annotations

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
