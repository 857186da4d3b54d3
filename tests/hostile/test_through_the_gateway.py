"""The whole corpus through the real gateway: the right answer to each input, in bounded memory, nothing left behind."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from client.acceptance.manifest import read_manifest
from client.acceptance.running import Verdict, run_corpus
from client.acceptance.sending import Platform
from phantom.corpus.chest import SMALL, Chest
from phantom.corpus.manifest import write_corpus
from phantom.corpus.registry import CASES
from shared.byte_units import MIB
from tests.stack.running import RunningStack, run_ctclip, running_stack, wait_until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1800)]  # all of the corpus is sent in one fixture

LARGEST_GATEWAY_BYTES = 200 * MIB
LARGEST_READER_BYTES = 512 * MIB
"""Of which more than half is the libraries: an archive of this corpus may expand to 64 MiB."""


@dataclass
class Peaks:
    """The most memory that any process of a worker or server was seen to hold."""

    resident_bytes: dict[str, int] = field(default_factory=dict)

    def look(self, processes: Mapping[str, int]) -> None:
        for name, pid in processes.items():
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                for one in (process, *process.children(recursive=True)):
                    with suppress(psutil.NoSuchProcess):
                        seen = one.memory_info().rss
                        self.resident_bytes[name] = max(seen, self.resident_bytes.get(name, 0))

    @contextmanager
    def watching(self, processes: Mapping[str, int]) -> Iterator[None]:
        has_ended = threading.Event()

        def watch() -> None:
            while not has_ended.wait(0.1):
                self.look(processes)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            has_ended.set()
            watcher.join()


@dataclass(frozen=True)
class Run:
    """One run of the corpus."""

    verdicts: Mapping[str, Verdict]
    peaks: Peaks
    scratch: Path
    stack: RunningStack


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A platform with the limits that the corpus is written for, after all cases were sent to it."""
    corpus, scratch = tmp_path_factory.mktemp("corpus"), tmp_path_factory.mktemp("scratch")
    write_corpus(corpus, CASES.values(), Chest(7, SMALL))
    lowered = {
        "CTCLIP_UPLOAD_LIMIT_BYTES": str(SMALL.upload_bytes),
        "CTCLIP_ARCHIVE_LIMIT_BYTES": str(SMALL.archive_bytes),
        "CTCLIP_ARCHIVE_LIMIT_ENTRIES": str(SMALL.archive_entries),
        "CTCLIP_WEIGHTS_PROFILE": "none",
        "TMPDIR": str(scratch),
    }
    with running_stack(tmp_path_factory.mktemp("small"), **lowered) as stack:
        peaks = Peaks()
        platform = Platform(stack.url, run_id=uuid.uuid4().hex, limit_s=120)
        processes = {name: stack.pid(name) for name in ("gateway", "worker-intake")}
        with peaks.watching(processes):
            verdicts = run_corpus(read_manifest(corpus), platform, at_once=6)
        platform.close()
        yield Run({verdict.id: verdict for verdict in verdicts}, peaks, scratch, stack)


class TestEveryCase:
    @pytest.mark.parametrize("case_id", CASES)
    def test_gets_the_right_answer(self, run: Run, case_id: str) -> None:
        verdict = run.verdicts[case_id]
        assert verdict.skipped is None
        assert not verdict.differences, f"{verdict.title}: {verdict.got}"

    def test_is_answered_without_an_error_of_ours(self, run: Run) -> None:
        assert [verdict.id for verdict in run.verdicts.values() if verdict.got.startswith("5")] == []
        assert [verdict.id for verdict in run.verdicts.values() if "internal_error" in verdict.got] == []


class TestAfterwards:
    def test_no_process_ever_held_much_memory(self, run: Run) -> None:
        assert run.peaks.resident_bytes["gateway"] < LARGEST_GATEWAY_BYTES
        assert run.peaks.resident_bytes["worker-intake"] < LARGEST_READER_BYTES

    def test_no_object_row_or_message_is_left_over(self, run: Run) -> None:
        told = run_ctclip("reconcile", "--json", "--state", str(run.stack.state))
        assert told.returncode == 0, told.stdout
        assert {name: json.loads(told.stdout)[name] for name in ("rows", "messages")} == {"rows": 0, "messages": 0}

    def test_no_scratch_file_is_left_over(self, run: Run) -> None:
        wait_until(lambda: not any(path.is_file() for path in run.scratch.rglob("*")), "scratch folders are empty", 10)
