"""Child processes: isolated, limited, replaced."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from shared.artefacts import UploadKind
from shared.byte_units import MIB
from shared.errors import Defect, InputProblem, StaleLease, TransientFault
from tests.loopback import running
from tests.stack.running import wait_until
from workers.intake.children import ChildDied, ChildPool, Nursery, _make_environment
from workers.intake.limits import IntakeLimits
from workers.intake.messages import Order
from workers.volume import VolumeFile


@pytest.fixture(scope="module")
def pool() -> Iterator[ChildPool]:
    """One pool for many studies, good and bad."""
    pool = ChildPool()
    yield pool
    pool.close()


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture
def order(tmp_path: Path, phantom_zip: Path) -> Order:
    return Order(str(phantom_zip), UploadKind.ZIP, tmp_path / "volume.b2nd", IntakeLimits())


@pytest.fixture
def bad_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bad") / "bad.zip"
    path.write_bytes(b"PK\x03\x04 cut short")
    return path


@pytest.fixture
def silent_server() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/upload"


@contextmanager
def serve_ranges(content: bytes, *, before_first: Callable[[], object]) -> Iterator[str]:
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

    with running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield f"{url}/upload"


WORKER = """
import signal
from workers.intake.children import Nursery
nursery = Nursery()
child = nursery.start_child()
print(nursery.pid, flush=True)
signal.pause()
"""

START_A_HELPER = """
import os, signal
from workers.intake import nursery

def work(talk):
    helper = os.fork()
    if helper:
        talk.sendall(b"%d" % helper)
    signal.pause()

nursery.serve(work)
"""


@contextmanager
def running_nursery(program: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Run a nursery whose children do something else, and give the sockets of its first child."""
    pairs = [socket.socketpair() for _ in range(3)]
    with ExitStack() as stack:
        (control, far_control), (talk, far_talk), (leash, far_leash) = (
            [stack.enter_context(end) for end in pair] for pair in pairs
        )
        far = far_control.fileno()
        process = stack.enter_context(
            subprocess.Popen([sys.executable, "-c", program, str(far)], pass_fds=(far,), env=_make_environment())
        )
        socket.send_fds(control, [b"+"], [far_talk.fileno(), far_leash.fileno()])
        for end in (far_control, far_talk, far_leash):
            end.close()
        yield talk, leash
        control.close()
        assert process.wait(timeout=60) == 0


def ignore(_progress: float) -> None:
    """Take no notice of progress."""


def is_running(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


def list_children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def list_descriptors(pid: int | str) -> list[Path]:
    """Return what a process holds open, in the order of its numbers (when `self`, also the listing itself)."""
    return sorted(Path(f"/proc/{pid}/fd").iterdir(), key=lambda link: int(link.name))


def wait_for_child(nursery: Nursery) -> int:
    """Wait until a nursery has forked, and return the id of the child."""
    wait_until(lambda: list_children(nursery.pid), "a child is forked")
    (child,) = list_children(nursery.pid)
    return child


def kill_child(nursery: Nursery, number: signal.Signals) -> None:
    os.kill(wait_for_child(nursery), number)


class TestReading:
    def test_the_volume_comes_back_as_a_file(self, pool: ChildPool, order: Order) -> None:
        report = pool.read(order, ignore)
        assert report.chosen is not None
        assert VolumeFile(order.volume_path).shape == report.chosen.shape_zyx

    def test_nothing_else_is_left_in_the_scratch_folder(self, pool: ChildPool, order: Order) -> None:
        pool.read(order, ignore)
        left = {path.name for path in order.volume_path.parent.iterdir()}
        assert left == {"volume.b2nd", "source_series.json"}

    def test_a_refusal_comes_back_as_a_report(self, pool: ChildPool, order: Order, bad_zip: Path) -> None:
        report = pool.read(replace(order, address=str(bad_zip)), ignore)
        assert report.problem is not None
        assert report.problem.code == "archive_truncated"

    def test_one_pool_reads_study_after_study(self, pool: ChildPool, order: Order) -> None:
        assert pool.read(order, ignore).hu == pool.read(order, ignore).hu

    def test_two_studies_are_read_at_the_same_time(self, pool: ChildPool, order: Order, tmp_path: Path) -> None:
        content = Path(order.address).read_bytes()
        both = threading.Barrier(2)

        def read(name: str) -> bool:
            with serve_ranges(content, before_first=lambda: both.wait(timeout=60)) as address:
                return pool.read(replace(order, address=address, volume_path=tmp_path / name), ignore).is_accepted

        with ThreadPoolExecutor(2) as threads:
            assert list(threads.map(read, ("first.b2nd", "second.b2nd"))) == [True, True]
        assert (tmp_path / "first.b2nd").read_bytes() == (tmp_path / "second.b2nd").read_bytes()

    def test_each_study_has_a_process_of_its_own(self, pool: ChildPool, order: Order) -> None:
        content = Path(order.address).read_bytes()
        seen: list[int] = []
        for _ in range(2):
            with serve_ranges(content, before_first=lambda: seen.append(wait_for_child(pool._nursery))) as address:
                pool.read(replace(order, address=address), ignore)
        assert len(set(seen)) == 2

    def test_nothing_is_left_after_many_studies(self, pool: ChildPool, order: Order, bad_zip: Path) -> None:
        nursery = pool._nursery
        pool.read(order, ignore)
        before = set(list_descriptors("self"))
        for number in range(20):
            pool.read(order if number % 4 == 0 else replace(order, address=str(bad_zip)), ignore)
        assert set(list_descriptors("self")) <= before  # what other tests left open may have been closed meanwhile
        assert list_children(nursery.pid) == []
        # Beside /dev/null three times, the control socket. The last leash closes just after it has told the ending.
        wait_until(lambda: len(list_descriptors(nursery.pid)) == 4, "only the control socket is open")
        assert pool._nursery is nursery


class TestIsolation:
    def test_nursery_and_child_know_no_credentials(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CTCLIP_STORAGE_SECRET_KEY", "do-not-tell")
        nursery = Nursery()
        child = nursery.start_child()
        try:
            known = [Path(f"/proc/{pid}/environ").read_bytes() for pid in (nursery.pid, wait_for_child(nursery))]
        finally:
            child.end()
            nursery.close()
        for environment in known:
            assert b"do-not-tell" not in environment
            assert b"CTCLIP" not in environment

    def test_a_child_holds_its_own_socket_and_nothing_of_the_nursery_or_another_child(self, nursery: Nursery) -> None:
        first, second = nursery.start_child(), nursery.start_child()
        wait_until(lambda: len(list_children(nursery.pid)) == 2, "two children are forked")
        children = list_children(nursery.pid)
        wait_until(lambda: all(len(list_descriptors(pid)) == 4 for pid in children), "only talk is open")
        sockets = {list_descriptors(pid)[-1].readlink() for pid in children}
        assert len(sockets) == 2
        first.end()
        second.end()

    def test_the_nursery_runs_no_thread_that_a_fork_would_lose(self, pool: ChildPool, order: Order) -> None:
        pool.read(order, ignore)
        assert len(list(Path(f"/proc/{pool._nursery.pid}/task").iterdir())) == 1

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

    def test_a_study_whose_child_crashed_once_is_read_by_the_next(self, pool: ChildPool, order: Order) -> None:
        nursery = pool._nursery
        content = Path(order.address).read_bytes()
        with serve_ranges(content, before_first=lambda: kill_child(nursery, signal.SIGSEGV)) as address:
            report = pool.read(replace(order, address=address), ignore)
        assert report.is_accepted
        assert pool._nursery is nursery
        assert nursery.is_alive

    def test_the_signal_that_ended_a_child_is_told(self, nursery: Nursery, order: Order) -> None:
        with (
            serve_ranges(b"", before_first=lambda: kill_child(nursery, signal.SIGSEGV)) as address,
            pytest.raises(ChildDied, match="signal 11"),
        ):
            nursery.start_child().carry_out(replace(order, address=address), ignore)

    def test_work_that_nobody_wants_is_killed(self, nursery: Nursery, order: Order) -> None:
        def give_up(_progress: float) -> None:
            raise StaleLease("given up")

        with pytest.raises(StaleLease):
            nursery.start_child().carry_out(order, give_up)
        assert list_children(nursery.pid) == []

    def test_a_child_is_killed_with_what_it_started(self) -> None:
        with running_nursery(START_A_HELPER) as (talk, leash):
            helper = int(talk.recv(100))
            assert is_running(helper)
            leash.shutdown(socket.SHUT_WR)
            assert leash.recv(100) == b"-9"
            wait_until(lambda: not is_running(helper), "the helper is dead")


class TestNursery:
    def test_one_that_was_killed_while_it_waited_is_replaced(self, order: Order) -> None:
        with closing(ChildPool()) as pool:
            killed = pool._nursery.pid
            os.kill(killed, signal.SIGKILL)
            wait_until(lambda: not is_running(killed), "the nursery is dead")
            assert pool.read(order, ignore).is_accepted
            assert pool._nursery.pid != killed

    def test_one_that_was_killed_at_work_ends_its_child_and_is_replaced(self, order: Order) -> None:
        seen: list[int] = []
        with closing(ChildPool()) as pool:
            killed = pool._nursery

            def kill_nursery() -> None:
                seen.append(wait_for_child(killed))
                os.kill(killed.pid, signal.SIGKILL)

            with serve_ranges(Path(order.address).read_bytes(), before_first=kill_nursery) as address:
                assert pool.read(replace(order, address=address), ignore).is_accepted
            assert pool._nursery is not killed
        assert not is_running(seen[0])

    def test_nurseries_that_die_again_and_again_are_no_fault_of_the_study(
        self, order: Order, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "executable", shutil.which("false"))
        with closing(ChildPool()) as pool, pytest.raises(Defect):
            pool.read(order, ignore)

    def test_a_worker_that_is_killed_takes_nursery_and_child_along(self) -> None:
        with subprocess.Popen([sys.executable, "-c", WORKER], stdout=subprocess.PIPE) as worker:
            assert worker.stdout is not None
            nursery = int(worker.stdout.readline())
            wait_until(lambda: list_children(nursery), "a child is forked")
            (child,) = list_children(nursery)
            worker.kill()
        wait_until(lambda: not is_running(nursery) and not is_running(child), "nursery and child have ended")

    def test_closing_the_pool_ends_a_study_in_hand(self, order: Order, silent_server: str) -> None:
        pool = ChildPool()
        with ThreadPoolExecutor(1) as threads:
            reading = threads.submit(pool.read, replace(order, address=silent_server), ignore)
            child = wait_for_child(pool._nursery)
            pool.close()
            with pytest.raises(TransientFault):
                reading.result()
        assert not is_running(child)
        assert not pool._nursery.is_alive


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
