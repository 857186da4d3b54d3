"""`python -m benchmarks.scale --finished 1000000 --waiting 100000`: what a million jobs cost those that come after.

Fills a database on a real server, as `ctclip up` starts it, and measures polls, lists, claims, relay, reaper and
retention on it and on an empty one in turns. Exits with 1 where a promise of `docs/scale.md` is broken.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

import structlog

from benchmarks.scale.databases import Database, marking, open_database, serving
from benchmarks.scale.filling import fill
from benchmarks.scale.operations import OPERATIONS, Operation
from benchmarks.scale.report import Measured, compare, render, to_document
from deploy.embedded.servers import ServerSet, start_servers

_FEW = 60
_TURN = 5


def main() -> None:
    """Fill, measure and print."""
    arguments = _parse()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with _state(arguments.state) as state, start_servers(state) as servers:
        empty, full = _open(servers, arguments.finished, arguments.waiting)
        if arguments.fill_only:
            return
        rows = measure(empty, full, arguments.share)
    _print(rows, arguments)
    sys.exit(0 if all(row.is_kept for row in rows) else 1)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--finished", type=int, default=20_000, help="jobs that have ended")
    parser.add_argument("--waiting", type=int, default=2_000, help="jobs that wait")
    parser.add_argument("--share", type=float, default=1.0, help="part of the usual number of samples")
    parser.add_argument("--state", type=Path, help="folder in which the filled database is kept and found again")
    parser.add_argument("--fill-only", action="store_true", help="fill the database in --state and measure nothing")
    parser.add_argument("--json", action="store_true", help="print the figures for programs")
    return parser.parse_args()


@contextmanager
def _state(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        yield kept
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "state"


def _open(servers: ServerSet, finished: int, waiting: int) -> tuple[Database, Database]:
    """Return the empty and the full database, filled unless they were found so."""
    empty, full = (open_database(servers, name, number) for number, name in enumerate(("scale_empty", "scale_full")))
    if empty.is_new:
        fill(empty.url, finished=_FEW, waiting=_FEW, kept="31 days")
    if full.is_new:
        begun = time.monotonic()
        fill(full.url, finished=finished, waiting=waiting)
        print(f"filled in {time.monotonic() - begun:.0f} s", file=sys.stderr)
    return empty, full


def measure(empty: Database, full: Database, share: float = 1.0) -> list[Measured]:
    """Return every operation measured on both databases, in turns, so that the machine is the same for both."""
    with ExitStack() as stack:
        for database in (empty, full):
            stack.callback(database.engine.dispose)
            stack.enter_context(serving(database))
            stack.enter_context(marking(database))
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


def _print(rows: Sequence[Measured], arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(json.dumps({"finished": arguments.finished, "waiting": arguments.waiting, "rows": to_document(rows)}))
        return
    print(f"{arguments.finished} finished and {arguments.waiting} waiting jobs")
    print(render(rows))


if __name__ == "__main__":
    main()
