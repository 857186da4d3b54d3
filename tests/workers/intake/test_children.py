"""Child processes: isolated, limited, replaced."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from shared.artefacts import UploadKind
from shared.errors import InputProblem, StaleLease, TransientFault
from shared.settings import MIB
from tests.stack.running import wait_until
from workers.intake.children import Child, ChildPool
from workers.intake.limits import IntakeLimits
from workers.intake.messages import Order
from workers.volume import VolumeFile


@pytest.fixture
def pool() -> Iterator[ChildPool]:
    pool = ChildPool()
    yield pool
    pool.close()


@pytest.fixture
def order(tmp_path: Path, phantom_zip: Path) -> Order:
    return Order(str(phantom_zip), UploadKind.ZIP, tmp_path / "volume.b2nd", IntakeLimits())


@pytest.fixture
def silent_server() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/upload"


def ignore(_progress: float) -> None:
    """Take no notice of progress."""


def is_running(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


class TestReading:
    def test_the_volume_comes_back_as_a_file(self, pool: ChildPool, order: Order) -> None:
        report = pool.read(order, ignore)
        assert report.chosen is not None
        assert VolumeFile(order.volume_path).shape == report.chosen.shape_zyx

    def test_nothing_else_is_left_in_the_scratch_folder(self, pool: ChildPool, order: Order) -> None:
        pool.read(order, ignore)
        assert [path.name for path in order.volume_path.parent.iterdir()] == ["volume.b2nd"]

    def test_a_refusal_comes_back_as_a_report(self, pool: ChildPool, order: Order, tmp_path: Path) -> None:
        (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 cut short")
        report = pool.read(replace(order, address=str(tmp_path / "bad.zip")), ignore)
        assert report.problem is not None
        assert report.problem.code == "archive_truncated"

    def test_one_pool_reads_study_after_study(self, pool: ChildPool, order: Order) -> None:
        assert pool.read(order, ignore).hu == pool.read(order, ignore).hu


class TestIsolation:
    def test_the_child_knows_no_credentials(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CTCLIP_STORAGE_SECRET_KEY", "do-not-tell")
        child = Child()
        try:
            environment = Path(f"/proc/{child.pid}/environ").read_bytes()
        finally:
            child.kill()
        assert b"do-not-tell" not in environment
        assert b"CTCLIP" not in environment

    def test_a_study_that_ends_its_child_twice_is_undecodable(self, pool: ChildPool, order: Order) -> None:
        starved = replace(order, limits=IntakeLimits(memory_bytes=64 * MIB))
        with pytest.raises(InputProblem) as refusal:
            pool.read(starved, ignore)
        assert refusal.value.problem.code == "undecodable"
        assert refusal.value.problem.facts == {"attempts": 2}

    def test_the_pool_reads_on_after_a_crash(self, pool: ChildPool, order: Order) -> None:
        with pytest.raises(InputProblem):
            pool.read(replace(order, limits=IntakeLimits(memory_bytes=64 * MIB)), ignore)
        assert pool.read(order, ignore).is_accepted

    def test_a_child_killed_at_work_is_tried_again(self, order: Order, silent_server: str) -> None:
        child = Child()
        killer = subprocess.Popen(["sh", "-c", f"sleep 2; kill -SEGV {child.pid}"])
        pool = ChildPool(ready=0)
        pool._idle.append(child)
        first = replace(order, address=silent_server, limits=replace(order.limits, time=timedelta(seconds=6)))
        started = time.monotonic()
        with pytest.raises(InputProblem):
            pool.read(first, ignore)
        killer.wait()
        assert time.monotonic() - started > 6
        assert not is_running(child.pid)

    def test_a_child_that_died_while_waiting_is_replaced(self, pool: ChildPool, order: Order) -> None:
        waiting = pool._idle[0].pid
        os.kill(waiting, signal.SIGKILL)
        wait_until(lambda: not is_running(waiting), "the child is dead")
        assert pool.read(order, ignore).is_accepted

    def test_work_that_nobody_wants_is_killed(self, order: Order) -> None:
        child = Child()

        def give_up(_progress: float) -> None:
            raise StaleLease("given up")

        with pytest.raises(StaleLease):
            child.carry_out(order, give_up)
        assert not is_running(child.pid)

    def test_a_child_ends_with_its_parent(self) -> None:
        child = Child()
        assert child._process.stdin is not None
        child._process.stdin.close()
        wait_until(lambda: not is_running(child.pid) or child._process.poll() is not None, "the child has ended")
        child.kill()


class TestStorage:
    def test_an_address_that_nobody_serves_is_a_transient_fault(self, pool: ChildPool, order: Order) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        with pytest.raises(TransientFault):
            pool.read(replace(order, address=f"http://127.0.0.1:{port}/upload?secret=x"), ignore)

    def test_storage_that_never_answers_is_given_up(self, pool: ChildPool, order: Order, silent_server: str) -> None:
        impatient = replace(order, address=silent_server, limits=replace(order.limits, time=timedelta(seconds=1)))
        with pytest.raises(InputProblem):
            pool.read(impatient, ignore)
