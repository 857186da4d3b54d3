"""`python -m benchmarks.scale --finished 1000000 --waiting 100000`: what a million jobs cost those that come after.

Fills a database on a real server, as `ctclip up` starts it, and measures polls, lists, claims, relay, reaper and
retention on it and on an empty one in turns. Exits with 1 where a promise of `docs/scale.md` is broken.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from benchmarks.scale.databases import Database, make_database, serving
from benchmarks.scale.filling import fill
from benchmarks.scale.operations import OPERATIONS, Operation
from benchmarks.scale.report import Measured, compare, render, to_document
from deploy.embedded.servers import start_servers

_FEW = 60
_TURN = 5


def main() -> None:
    """Fill, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--finished", type=int, default=20_000, help="jobs that have ended")
    parser.add_argument("--waiting", type=int, default=2_000, help="jobs that wait")
    parser.add_argument("--share", type=float, default=1.0, help="part of the usual number of samples")
    parser.add_argument("--folder", type=Path, help="where the database lies meanwhile; a temporary folder if not set")
    parser.add_argument("--json", action="store_true", help="print the figures for programs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder, start_servers(Path(folder) / "state") as servers:
        empty, full = (
            make_database(servers, name, number) for number, name in enumerate(("scale_empty", "scale_full"))
        )
        fill(empty.url, finished=_FEW, waiting=_FEW, kept="31 days")
        begun = time.monotonic()
        fill(full.url, finished=arguments.finished, waiting=arguments.waiting)
        filled_s = time.monotonic() - begun
        print(f"filled: {filled_s:.1f} s", file=sys.stderr)
        rows = measure(empty, full, arguments.share)
    _print(rows, arguments, filled_s)
    sys.exit(0 if all(row.is_kept for row in rows) else 1)


def measure(empty: Database, full: Database, share: float = 1.0) -> list[Measured]:
    """Return every operation measured on both databases, in turns, so that the machine is the same for both."""
    with ExitStack() as stack:
        for database in (empty, full):
            stack.enter_context(serving(database))
            stack.callback(database.engine.dispose)
        return [_measure(operation, empty, full, share) for operation in OPERATIONS]


def _measure(operation: Operation, empty: Database, full: Database, share: float) -> Measured:
    begun = time.monotonic()
    sources = (operation.sample(empty), operation.sample(full))
    taken: tuple[list[float], list[float]] = ([], [])
    for source in sources:
        list(islice(source, 1))  # the first warms plans and pages
    wanted = max(_TURN, round(operation.rounds * share))
    for _ in range(0, wanted, _TURN):
        for source, times in zip(sources, taken, strict=True):
            times.extend(islice(source, _TURN))
    print(f"{operation.name}: {time.monotonic() - begun:.1f} s", file=sys.stderr)
    return compare(operation.name, *taken, operation.limit_ms)


def _print(rows: Sequence[Measured], arguments: argparse.Namespace, filled_s: float) -> None:
    if arguments.json:
        print(json.dumps({"finished": arguments.finished, "waiting": arguments.waiting, "rows": to_document(rows)}))
        return
    print(f"{arguments.finished} finished and {arguments.waiting} waiting jobs (filled in {filled_s:.0f} s)")
    print(render(rows))


if __name__ == "__main__":
    main()
