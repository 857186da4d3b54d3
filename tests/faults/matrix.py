"""`python -m tests.faults.matrix`: inject every fault into a running platform and write down what came of it.

`--only F1 F9` takes some rows; what an earlier run measured of the others is kept beside it (`--kept FILE`).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from phantom.dicom import write_zip
from phantom.study import PhantomSettings, make_study
from tests.faults import devices, kills, outside, server_faults, storage_faults
from tests.faults.invariants import Account, check_invariants
from tests.faults.page import render_page
from tests.faults.platform import FaultyPlatform, running_platform
from tests.faults.row import Outcome, Row, SkippedRow

ROWS: tuple[Row, ...] = (*kills.ROWS, *devices.ROWS, *server_faults.ROWS, *storage_faults.ROWS, *outside.ROWS)
_LONGEST_REASON = 100
PAGE = Path(__file__).parents[2] / "docs" / "fault-matrix.md"


@dataclass(frozen=True)
class Measured:
    """What came of one row, in one run."""

    row: str
    happened: str
    recovery_s: float | None
    jobs: int
    results: int
    left_objects: int
    seconds: float
    is_held: bool | None
    """None where the fault could not be injected: the row was not run."""


def run_row(platform: FaultyPlatform, row: Row) -> tuple[Outcome, Account]:
    """Inject one fault and check everything. Raises AssertionError, and SkippedRow where it cannot be injected."""
    outcome = row.act(platform)
    return outcome, check_invariants(platform)


def measure(platform: FaultyPlatform, row: Row) -> Measured:
    """Run a row, and write down a failure too."""
    started = time.monotonic()
    try:
        outcome, account = run_row(platform, row)
    except SkippedRow as reason:
        return Measured(row.id, f"not run: {reason}", None, 0, 0, 0, 0.0, is_held=None)
    except Exception as error:  # noqa: BLE001  # whatever breaks is what this is for
        sys.stderr.write(f"{row.id}\n    {type(error).__name__}: {error}\n")
        happened = f"broken: {_shorten(error)}"
        return Measured(row.id, happened, None, 0, 0, 0, time.monotonic() - started, is_held=False)
    counts = (account.jobs, account.results, account.left_objects)
    return Measured(row.id, outcome.happened, outcome.recovery_s, *counts, time.monotonic() - started, is_held=True)


def tell(measured: Measured) -> str:
    """Return what the terminal says of a row."""
    ended = "skipped" if measured.is_held is None else "held" if measured.is_held else "BROKEN"
    return f"{ended:7} {measured.seconds:6.1f} s  {measured.row}\n"


def choose_exit_status(rows: Iterable[Measured]) -> int:
    """Return 1 when a row broke; one that was skipped did not."""
    return int(any(measured.is_held is False for measured in rows))


def _shorten(error: Exception) -> str:
    """Return the beginning of what an error says, as one cell of a table."""
    said = " ".join(str(error).split()).replace("|", "/") or type(error).__name__
    return said[:_LONGEST_REASON]


def run_rows(rows: Sequence[Row], note: Callable[[Measured], None], *, within_s: float) -> None:
    """Run rows one after another on one platform; none begins later than `within_s` after the start."""
    ends_at = time.monotonic() + within_s
    with tempfile.TemporaryDirectory(prefix="ctclip-faults-") as folder:
        study = Path(folder) / "study.zip"
        write_zip(make_study(7, ("pleural_effusion",), PhantomSettings.coarse()), study)
        with running_platform(Path(folder) / "state", study) as platform:
            for row in rows:
                if time.monotonic() < ends_at:
                    note(measure(platform, row))


def main() -> int:
    """Read the command line, run the rows, and write the page. Returns 1 when a row broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.matrix", description="Inject every fault.")
    parser.add_argument("--only", nargs="+", default=[], help="begin of the ids of the rows to run, such as F1 or F9")
    parser.add_argument("--times", type=int, default=1, help="how often")
    parser.add_argument("--kept", type=Path, help="file that keeps what was measured between runs of some rows")
    parser.add_argument("--within", type=float, default=3600, help="seconds after which no further row begins")
    arguments = parser.parse_args()
    chosen = [row for row in ROWS if not arguments.only or row.number in arguments.only or row.id in arguments.only]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left running
    runs: dict[str, list[dict[str, object]]] = _read(arguments.kept)
    done: list[Measured] = []

    def note(measured: Measured) -> None:
        sys.stdout.write(tell(measured))
        sys.stdout.flush()
        done.append(measured)
        runs.setdefault(measured.row, []).append(asdict(measured))
        if arguments.kept is not None:
            arguments.kept.write_text(json.dumps(runs))

    for _ in range(arguments.times):
        run_rows(chosen, note, within_s=arguments.within)
    PAGE.write_text(render_page(ROWS, runs, cores=len(os.sched_getaffinity(0))))
    return choose_exit_status(done)


def _read(kept: Path | None) -> dict[str, list[dict[str, object]]]:
    if kept is None or not kept.exists():
        return {}
    read: dict[str, list[dict[str, object]]] = json.loads(kept.read_text())
    return read


if __name__ == "__main__":
    sys.exit(main())
