"""Child processes: isolated, limited, replaced."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
def pool() -> ChildPool:
    """A pool that starts its children when they are needed."""
    return ChildPool(ready=0)


@pytest.fixture
def warm_pool() -> Iterator[ChildPool]:
    """A pool whose child waits."""
    pool = ChildPool(ready=1)
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


@contextmanager
def serve_ranges(content: bytes, *, before_first: Callable[[], None]) -> Iterator[str]:
    """Serve bytes in ranges; the first request does something else first."""
    pending = [before_first]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if pending:
                pending.pop()()
            first, last = (int(number) for number in self.headers["Range"].removeprefix("bytes=").split("-"))
            part = content[first : last + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            with suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(part)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/upload"
        server.shutdown()
        thread.join()


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

    def test_one_pool_reads_study_after_study(self, warm_pool: ChildPool, order: Order) -> None:
        assert warm_pool.read(order, ignore).hu == warm_pool.read(order, ignore).hu


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

    def test_a_study_whose_child_crashed_once_is_read_by_the_next(self, warm_pool: ChildPool, order: Order) -> None:
        first = warm_pool._idle[0].pid
        content = Path(order.address).read_bytes()
        with serve_ranges(content, before_first=lambda: os.kill(first, signal.SIGSEGV)) as address:
            report = warm_pool.read(replace(order, address=address), ignore)
        assert report.is_accepted
        assert not is_running(first)

    def test_a_child_that_died_while_waiting_is_replaced(self, warm_pool: ChildPool, order: Order) -> None:
        waiting = warm_pool._idle[0].pid
        os.kill(waiting, signal.SIGKILL)
        wait_until(lambda: not is_running(waiting), "the child is dead")
        assert warm_pool.read(order, ignore).is_accepted

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
