"""The cheapest and most telling rows of the fault matrix; `python -m tests.faults.matrix` runs all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.matrix import ROWS, run_row
from tests.faults.platform import FaultyPlatform, running_platform
from tests.faults.row import Row

QUICK = [row for row in ROWS if row.is_quick]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, phantom_zip: Path) -> Iterator[FaultyPlatform]:
    with running_platform(tmp_path_factory.mktemp("faults"), phantom_zip) as running:
        yield running


@pytest.mark.stack
class TestQuickRows:
    @pytest.mark.parametrize("row", QUICK, ids=lambda row: row.id)
    def test_the_platform_keeps_its_promises(self, platform: FaultyPlatform, row: Row) -> None:
        run_row(platform, row)


class TestTheList:
    def test_no_row_stands_there_twice(self) -> None:
        assert len({row.id for row in ROWS}) == len(ROWS)
