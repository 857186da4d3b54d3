"""Load on the whole platform, with models that sleep: `python -m benchmarks.load --minutes 5`.

Starts the platform in a folder of its own, measures what it can do, sends studies at parts of that and then at five
times as much, whether or not it keeps up, and reckons every accepted job by rows, objects and messages. With `--exact
50x20x5` it counts instead: 50 clients, each with 20 submissions, of 5 studies. Exit status 1: a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.load.arrivals import Target
from benchmarks.load.exact import ExactReport, count_exactly
from benchmarks.load.figures import Judged
from benchmarks.load.launcher import COMMAND
from benchmarks.load.phases import SHORT, Load, LoadReport, Plan
from benchmarks.load.reckoning import Books
from benchmarks.load.sleeping import SLEEP_VARIABLE
from benchmarks.stack import Stack, started_stack
from deploy.embedded.state_folder import read_environment
from phantom.dicom import write_zip
from phantom.study import PhantomSettings, make_study
from shared.settings import Settings

_STUDIES = 5
_QUEUE_LIMIT, _SHORT_QUEUE_LIMIT = 200, 20


@dataclass(frozen=True)
class Platform:
    """A platform that can be loaded: the way to it, and its books."""

    stack: Stack
    books: Books


def main() -> None:
    """Load, print, and judge."""
    arguments = _parse()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), _choose_settings(arguments)) as platform:
        studies = make_studies(arguments.exact[2] if arguments.exact else _STUDIES)
        target = Target(platform.stack.url, studies, {"reuse": "false"})
        started_s = time.monotonic() - began
        report = _exact(target, platform, arguments) if arguments.exact else _load(target, platform, arguments)
    document = {**report.to_document(), "start_s": started_s, "seconds": time.monotonic() - began}
    print(json.dumps(document) if arguments.json else _render(report))
    sys.exit(0 if report.is_kept else 1)


@contextmanager
def running(folder: Path, environment: Mapping[str, str]) -> Iterator[Platform]:
    """Run a platform with models that sleep while the block runs."""
    state = folder / "state"
    with started_stack(state, environment, COMMAND) as stack:
        named = {name.removeprefix("CTCLIP_").lower(): value for name, value in read_environment(state).items()}
        books = Books(Settings.model_validate(named))
        try:
            yield Platform(stack, books)
        finally:
            books.close()


def make_studies(count: int) -> list[bytes]:
    """Return small studies that differ in their pixels, as ZIPs of DICOM files."""
    return [_make_study(seed) for seed in range(1, count + 1)]


def _make_study(seed: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.zip"
        write_zip(make_study(seed, (), PhantomSettings.coarse()), path)
        return path.read_bytes()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long the overload lasts")
    parser.add_argument("--short", action="store_true", help="all phases in under a minute")
    parser.add_argument("--factor", type=float, default=5.0, help="how many times the capacity the overload is")
    parser.add_argument("--model-seconds", type=float, default=0.01, help="how long each model sleeps")
    parser.add_argument("--exact", type=_parse_counts, metavar="CxSxN", help="clients x submissions x studies")
    parser.add_argument("--no-reuse", action="store_true", help="with --exact: every job is read anew")
    parser.add_argument("--json", action="store_true", help="print the figures for programs")
    return parser.parse_args()


def _parse_counts(text: str) -> tuple[int, int, int]:
    clients, submissions, studies = map(int, text.split("x"))
    return clients, submissions, studies


def _choose_settings(arguments: argparse.Namespace) -> dict[str, str]:
    limit = 150_000 if arguments.exact else _SHORT_QUEUE_LIMIT if arguments.short else _QUEUE_LIMIT
    return {
        SLEEP_VARIABLE: str(arguments.model_seconds),
        "CTCLIP_QUEUE_LIMIT": str(limit),
        "CTCLIP_REPORT_LANGUAGES": "",
        "CTCLIP_SELF_CHECK_INTERVAL": "PT0S",
        # How much one may ask for is another subject: here the queue is to say no.
        **{f"CTCLIP_{of}RATE_LIMIT_{what}": "1000000" for of in ("", "TENANT_") for what in ("PER_MINUTE", "BURST")},
    }


def _load(target: Target, platform: Platform, arguments: argparse.Namespace) -> LoadReport:
    plan = SHORT if arguments.short else Plan(overload_s=60 * arguments.minutes)
    plan = replace(plan, factor=arguments.factor)
    return Load(target, platform.books, platform.stack.pids["gateway"], plan).run()


def _exact(target: Target, platform: Platform, arguments: argparse.Namespace) -> ExactReport:
    clients, submissions, _ = arguments.exact
    reuses = not arguments.no_reuse
    return count_exactly(target, platform.books, clients=clients, submissions=submissions, reuses=reuses)


def _render(report: LoadReport | ExactReport) -> str:
    lines = _render_load(report) if isinstance(report, LoadReport) else []
    return "\n".join([*lines, *_render_judged(report.judged)])


def _render_load(report: LoadReport) -> list[str]:
    lines = [f"capacity {report.capacity_hz:.2f} studies/s"]
    for step in report.steps:
        answers = ", ".join(f"{count} x {answer}" for answer, count in sorted(step.answers.items()))
        lines.append(f"{step.name:<15} {step.rate_hz:7.2f}/s  {answers}")
        for name, told in (("answer", step.answered_s), ("result", step.result_s), ("sent late", step.sent_late_s)):
            lines.append(f"{'':<15} {name:<9} " + "  ".join(f"{share} {value:.3f} s" for share, value in told.items()))
    return lines


def _render_judged(judged: Sequence[Judged]) -> list[str]:
    return [f"{'kept  ' if each.is_kept else 'BROKEN'}  {each.promise}: {each.found}" for each in judged]


if __name__ == "__main__":
    main()
