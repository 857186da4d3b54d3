"""What the page and the terminal say of rows, and of those that this machine could not run. No server is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import cast

import pytest

from tests.faults.matrix import Measured, choose_exit_status, measure, tell
from tests.faults.page import render_page
from tests.faults.platform import FaultyPlatform
from tests.faults.row import Outcome, Row, SkippedRow


def lack_the_tool(platform: FaultyPlatform) -> Outcome:
    raise SkippedRow("libfaketime is not installed")


ROW = Row("F11", "clock of a worker +10 min", "intake", lack_the_tool)
HELD = Measured(ROW.id, "it went on", 1.5, 1, 1, 2, 3.0, is_held=True)
BROKEN = Measured(ROW.id, "broken: a job was lost", None, 0, 0, 0, 3.0, is_held=False)


@pytest.fixture
def skipped() -> Measured:
    """A row that could not be injected; it never looked at the platform."""
    return measure(cast("FaultyPlatform", None), ROW)


def render_row(runs: Sequence[Measured]) -> str:
    """Return the last three cells of the row and what stands before them."""
    page = render_page((ROW,), {ROW.id: [asdict(run) for run in runs]}, cores=2)
    (line,) = (line for line in page.splitlines() if line.startswith("| F11 |"))
    return line.removeprefix("| F11 | clock of a worker +10 min | intake | ")


class TestARowOfThePage:
    def test_that_was_skipped_has_not_held(self, skipped: Measured) -> None:
        assert render_row([skipped] * 3) == "not run: libfaketime is not installed | - | - | - |"

    def test_that_was_never_begun_says_so(self) -> None:
        assert render_row([]) == "not run yet | - | - | - |"

    def test_counts_the_runs_that_took_place(self, skipped: Measured) -> None:
        assert render_row([HELD, HELD, skipped]) == "it went on | 1.5 | 2 of 2 | 2 |"

    def test_that_broke_is_counted_against_it(self) -> None:
        assert render_row([HELD, BROKEN]) == "broken: a job was lost | 1.5 | 1 of 2 | 2 |"


def test_the_page_says_that_rows_which_were_not_run_are_not_covered() -> None:
    assert '- Rows that say "not run", with the reason, or "not run yet".\n' in render_page((), {}, cores=2)


class TestTheTerminal:
    def test_tells_what_was_skipped_from_what_held(self, skipped: Measured) -> None:
        assert [tell(row).split()[0] for row in (HELD, BROKEN, skipped)] == ["held", "BROKEN", "skipped"]

    def test_gets_an_exit_status_of_failure_for_what_broke_alone(self, skipped: Measured) -> None:
        assert choose_exit_status([HELD, skipped]) == 0
        assert choose_exit_status([skipped, BROKEN]) == 1
