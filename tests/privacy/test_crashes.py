"""What a child says when it fails: an error's kind and place, never its words, which may quote the study."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.artefacts import UploadKind
from shared.errors import Defect
from shared.telemetry import describe_exception
from tests.privacy.identity import MARK
from workers.intake.children import ChildPool, Nursery
from workers.intake.limits import IntakeLimits
from workers.intake.messages import Order


@pytest.fixture
def pool() -> Iterator[ChildPool]:
    pool = ChildPool()
    yield pool
    pool.close()


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture
def order(tmp_path: Path) -> Order:
    """An order whose upload is not there: the error that Python raises quotes its name."""
    return Order(str(tmp_path / f"{MARK}.zip"), UploadKind.ZIP, tmp_path / "volume.b2nd", IntakeLimits())


class TestAChildsDefect:
    def test_is_told_by_kind_and_place(self, pool: ChildPool, order: Order) -> None:
        with pytest.raises(Defect) as raised:
            pool.read(order, lambda _progress: None)
        assert "FileNotFoundError" in str(raised.value.facts["evidence"])

    def test_quotes_nothing_in_log_or_dead_letter(self, pool: ChildPool, order: Order) -> None:
        with pytest.raises(Defect) as raised:
            pool.read(order, lambda _progress: None)
        error = raised.value
        logged = describe_exception((type(error), error, error.__traceback__))
        assert MARK not in f"{logged} {error} {error.facts}"


class TestANursery:
    def test_has_nowhere_to_write_what_a_library_or_a_crash_prints(self, nursery: Nursery) -> None:
        streams = {Path(f"/proc/{nursery.pid}/fd/{number}").resolve() for number in range(3)}
        assert streams == {Path("/dev/null")}
