"""`ctclip demo`: start the platform, read two studies, show how, explain both results, leave the platform running."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import typer
from rich.console import Console

from client import Client, ClientError, Job, ResultDocument
from client.rendering import print_failure, print_result
from client.watching import watch_jobs
from deploy.demo.studies import PHANTOM_FINDING, prepared_studies
from deploy.embedded.command import STARTED_AT, Json, State, describe_stop, start_shown
from deploy.embedded.problems import StackProblem
from deploy.embedded.progress import print_entrances
from deploy.embedded.report import StackReport, find_ready
from deploy.embedded.state_folder import StateFolder, default_state

JOB_LIMIT_S = 300.0

_INTRODUCTION = f"""\
[bold]CT-CLIP Inference: demonstration[/]
A real, de-identified chest CT (RICORD, CC BY-NC 4.0) and a computed phantom with {PHANTOM_FINDING.replace("_", " ")}.
[yellow]The weights are small demonstration networks trained on phantoms: what they say of the real patient means \
nothing. Not for clinical use.[/]
"""


@dataclass(frozen=True)
class Outcome:
    """One study as it ended; without a result when the job failed."""

    job: Job
    result: ResultDocument | None
    advice: str | None = None


def demo(state: State = None, as_json: Json = False) -> None:
    """Start everything, read a real chest CT and a phantom, explain both results. The platform is left running."""
    began_at = float(os.environ.get(STARTED_AT) or time.time())
    console = Console(quiet=as_json)
    console.print(_INTRODUCTION)
    try:
        folder = StateFolder.prepare(state or default_state())
        report, outcomes = _run(folder, console)
    except (StackProblem, ClientError) as problem:
        _give_up(str(problem), StateFolder((state or default_state()).expanduser().resolve()))
    seconds = time.time() - began_at
    if as_json:
        typer.echo(json.dumps(_describe(report, outcomes, seconds)))
    _print_outcomes(console, outcomes)
    _print_next(console, folder, report, outcomes, seconds)
    raise typer.Exit(0 if all(outcome.result for outcome in outcomes.values()) else 1)


def _run(folder: StateFolder, console: Console) -> tuple[StackReport, dict[str, Outcome]]:
    with prepared_studies() as studies:
        report = _find_or_start(folder, console)
        with console.status("computing the phantom"):
            paths = studies.result()
        with Client(str(report.url), api_key=report.api_key) as api:
            return report, _read_studies(api, paths, console)


def _find_or_start(folder: StateFolder, console: Console) -> StackReport:
    running = find_ready(folder)
    if running is not None:
        console.print(f"The platform runs already at {running.url}.\n", highlight=False)
        return running
    console.print("[bold]Starting the platform[/]: PostgreSQL, broker, object storage, gateway, workers, Flower")
    report = start_shown(folder, console)
    console.print()
    return report


def _read_studies(api: Client, studies: Mapping[str, Path], console: Console) -> dict[str, Outcome]:
    console.print("[bold]Reading both studies[/]")
    ids = {title: api.submit(path).id for title, path in studies.items()}
    jobs = watch_jobs(api, ids, console, limit_s=JOB_LIMIT_S)
    return {title: _fetch_outcome(api, job) for title, job in jobs.items()}


def _fetch_outcome(api: Client, job: Job) -> Outcome:
    if job.has_result:
        return Outcome(job, api.fetch_result(job.id).document)
    return Outcome(job, None, api.fetch_advice(job.problem.code) if job.problem else None)


def _print_outcomes(console: Console, outcomes: Mapping[str, Outcome]) -> None:
    for title, outcome in outcomes.items():
        console.print()
        if outcome.result is None:
            print_failure(console, outcome.job, outcome.advice, title=title)
        else:
            print_result(console, outcome.result, outcome.job, title=title)


def _print_next(
    console: Console, folder: StateFolder, report: StackReport, outcomes: Mapping[str, Outcome], seconds: float
) -> None:
    since = "from the start of `make demo`" if os.environ.get(STARTED_AT) else "from the start of this command"
    console.print(f"\n[bold]{seconds:.1f} s[/] {since} to both results.", highlight=False)
    if not all(outcome.result for outcome in outcomes.values()):
        console.print(f"[red]Not every study has a result.[/] The logs: {folder.logs}", highlight=False)
    console.print("\n[bold]The platform goes on running. Open next:[/]")
    print_entrances(console, report, how_to_stop=describe_stop(folder))


def _describe(report: StackReport, outcomes: Mapping[str, Outcome], seconds: float) -> Mapping[str, object]:
    return {
        "url": report.url,
        "flower_url": report.flower_url,
        "state": report.state,
        "seconds": seconds,
        "studies": {
            title: {"job": outcome.job.document, "result": outcome.result} for title, outcome in outcomes.items()
        },
    }


def _give_up(problem: str, folder: StateFolder) -> NoReturn:
    typer.echo(
        f"\nThe demonstration did not get through.\n{problem}\n"
        f"Next: `ctclip status` shows what runs, `{describe_stop(folder)}` stops it; `make demo` tries again, and the "
        "data is kept.",
        err=True,
    )
    raise typer.Exit(1)
