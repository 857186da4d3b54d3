"""Live progress of jobs by stage: a table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from client.api import Client
from client.documents import Job, StageProgress
from client.errors import WaitExpired
from client.exchange import WAIT_LIMIT_S
from client.words import explain_reason, name_stage

_POLL_S = 0.2
_RUNNING = "leased"
_SKIPPED = "skipped"


class _Stopwatch:
    """How long each running stage has been seen to run; the clock of the server does not matter."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, int], float] = {}

    def seconds(self, title: str, stage: StageProgress) -> float:
        now = time.monotonic()
        return now - self._seen.setdefault((title, stage.name, stage.attempt), now)


def watch_jobs(
    api: Client, jobs: Mapping[str, str], console: Console, *, limit_s: float = WAIT_LIMIT_S
) -> dict[str, Job]:
    """Show jobs (title to id) until all have ended, and return them as they ended.

    Raises WaitExpired after `limit_s`, and what `Client.fetch_job` raises.
    """
    if console.is_terminal:
        return _watch_in_table(api, jobs, console, limit_s)
    return _follow(api, jobs, limit_s, _PlainLines(console).show)


def _watch_in_table(api: Client, jobs: Mapping[str, str], console: Console, limit_s: float) -> dict[str, Job]:
    stopwatch = _Stopwatch()
    with Live(console=console, refresh_per_second=8) as live:
        return _follow(api, jobs, limit_s, lambda seen: live.update(_draw(seen, stopwatch)))


def _follow(
    api: Client, jobs: Mapping[str, str], limit_s: float, show: Callable[[Mapping[str, Job]], None]
) -> dict[str, Job]:
    deadline = time.monotonic() + limit_s
    seen: dict[str, Job] = {}
    while True:
        for title, job_id in jobs.items():
            if title not in seen or not seen[title].has_ended:
                seen[title] = api.fetch_job(job_id)
        show(seen)
        unfinished = [job.id for job in seen.values() if not job.has_ended]
        if not unfinished:
            return seen
        if time.monotonic() > deadline:
            raise WaitExpired(unfinished[0], limit_s)
        time.sleep(_POLL_S)


def _draw(jobs: Mapping[str, Job], stopwatch: _Stopwatch) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="bold")
    table.add_column("")
    for title in jobs:
        table.add_column(title, min_width=22)
    names = list(dict.fromkeys(stage.name for job in jobs.values() for stage in job.stages))
    for name in names:
        table.add_row(name_stage(name), *(_draw_cell(title, job, name, stopwatch) for title, job in jobs.items()))
    table.add_row("", *(_draw_state(job) for job in jobs.values()))
    return table


def _draw_cell(title: str, job: Job, name: str, stopwatch: _Stopwatch) -> Text | Spinner:
    stage = next((stage for stage in job.stages if stage.name == name), None)
    if stage is None:
        return Text("")
    if stage.state == _RUNNING:
        return Spinner("dots", f"{stopwatch.seconds(title, stage):.1f} s", style="cyan")
    return Text(_describe(stage), style=_STYLES.get(stage.state, "dim"))


_STYLES = {"succeeded": "green", "failed": "red", "cancelled": "red", "ready": "default"}


def _describe(stage: StageProgress) -> str:
    """Return the state of a stage that does not run now."""
    seconds = f" {stage.seconds:.1f} s" if stage.seconds is not None else ""
    again = f", attempt {stage.attempt}" if stage.attempt > 1 else ""
    match stage.state:
        case "succeeded":
            return f"✓{seconds}{again}"
        case "skipped":
            return f"– {explain_reason(stage.reason)}"
        case "ready":
            return f"queued{again}"
        case "waiting":
            return "·"
        case _:
            return f"✗ {stage.state} {explain_reason(stage.reason)}".rstrip()


def _draw_state(job: Job) -> Text:
    if not job.has_ended:
        return Text(f"{job.progress:.0%}", style="dim")
    return Text(job.state.replace("_", " "), style="bold green" if job.has_succeeded else "bold red")


class _PlainLines:
    """One line for every change of a stage, with the seconds since the first look; skipped stages share a line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._said: dict[tuple[str, str], StageProgress | str] = {}
        self._skipped: set[tuple[str, str]] = set()

    def show(self, jobs: Mapping[str, Job]) -> None:
        for title, job in jobs.items():
            for reason, stages in self._take_skipped(title, job).items():
                self._print(title, f"{explain_reason(reason) or 'skipped'}: {', '.join(stages)}")
            for stage in job.stages:
                self._say(title, stage)
            if job.has_ended and self._said.get((title, "")) != job.state:
                self._said[title, ""] = job.state
                self._print(title, job.state.replace("_", " "))

    def _take_skipped(self, title: str, job: Job) -> dict[str | None, list[str]]:
        """Return the stages found skipped now and not before, by reason."""
        by_reason: dict[str | None, list[str]] = {}
        for stage in job.stages:
            if stage.state == _SKIPPED and (title, stage.name) not in self._skipped:
                self._skipped.add((title, stage.name))
                by_reason.setdefault(stage.reason, []).append(name_stage(stage.name))
        return by_reason

    def _say(self, title: str, stage: StageProgress) -> None:
        now = replace(stage, started_at=None, finished_at=None)
        if stage.state in {"waiting", "ready", _SKIPPED} or self._said.get((title, stage.name)) == now:
            return
        self._said[title, stage.name] = now
        state = "running" if stage.state == _RUNNING else _describe(stage)
        self._print(title, f"{name_stage(stage.name)}: {state}")

    def _print(self, title: str, text: str) -> None:
        elapsed_s = time.monotonic() - self._started
        self._console.print(f"{elapsed_s:6.1f} s  {title}: {text}", highlight=False, markup=False, soft_wrap=True)
