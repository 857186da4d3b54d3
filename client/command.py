"""The `ctclip` command: submit a study, follow its job, read its result; and the platform's own commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from client import options
from client.api import Client
from client.batch.command import batch
from client.connecting import ApiKey, Json, Url, connected, print_json
from client.documents import Job
from client.plugins import add_plugins
from client.rendering import print_failure, print_result, print_validation
from client.statuses import NO_RESULT
from client.upload_bar import shown_upload
from client.watching import watch_jobs

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.")]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"ctclip {version('ct-clip-inference')}")
        raise typer.Exit


@app.callback()
def begin(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Send a chest CT, get one explained probability. Research use only."""


@app.command()
def submit(
    study: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="ZIP of one DICOM study, or NIfTI.")
    ],
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job and print its result.")] = False,
    models: options.Models = None,
    series_instance_uid: options.SeriesUid = None,
    policy: options.Policy = None,
    validate_only: options.ValidateOnly = False,
    split: options.Split = False,
    priority: options.Priority = None,
    labels: options.Labels = None,
    callback_url: options.CallbackUrl = None,
    reuse: options.Reuse = True,
    idempotency_key: options.IdempotencyKey = None,
    api_url: Url = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Send a study and print its job; with --wait, its result."""
    given = options.gather(
        models=models,
        series_instance_uid=series_instance_uid,
        policy=policy,
        validate_only=validate_only or None,
        split=split or None,
        priority=priority,
        labels=labels,
        callback_url=callback_url,
        reuse=None if reuse else False,
    )
    with connected(api_url, api_key, as_json) as api:
        with shown_upload(study.name, is_quiet=as_json) as on_progress:
            job = api.submit(study, given, idempotency_key=idempotency_key, on_progress=on_progress)
        if wait:
            _show_outcomes(api, _follow(api, job.id, as_json), as_json)
        else:
            _tell_job(job, f"{job.id}\nFollow it: ctclip watch {job.id}\nRead it:   ctclip result {job.id}", as_json)


@app.command()
def watch(
    job: JobId,
    *,
    events: Annotated[
        bool,
        typer.Option("--events", help="Print every event in a line of JSON, as it happens; a broken stream resumes."),
    ] = False,
    after: Annotated[int, typer.Option(min=0, help="With --events: only events behind the one of this id.")] = 0,
    api_url: Url = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Follow a job until it has ended; with --json, one line for every change."""
    with connected(api_url, api_key, as_json) as api:
        if events:
            _print_events(api, job, after)
            ended = api.fetch_job(job)
        elif as_json:
            ended = _watch_in_lines(api, job)
        else:
            ended = watch_jobs(api, {"job": job}, Console())["job"]
            _tell_end(api, ended)
    raise typer.Exit(0 if ended.has_succeeded else NO_RESULT)


def _print_events(api: Client, job_id: str, after: int) -> None:
    for event in api.iterate_events(job_id, after=after):
        print_json({**asdict(event), "at": event.at.isoformat() if event.at else None})


def _watch_in_lines(api: Client, job_id: str) -> Job:
    for job in api.iterate_updates(job_id):
        print_json(job.document)
    return job


def _tell_job(job: Job, words: str, as_json: bool) -> None:
    print_json(job.document) if as_json else typer.echo(words)


def _tell_end(api: Client, job: Job) -> None:
    if job.has_result:
        typer.echo(f"Read it: ctclip result {job.id}")
    else:
        _show_outcome(api, job, as_json=False)


@app.command()
def result(job: JobId, api_url: Url = None, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Print the result of a job."""
    with connected(api_url, api_key, as_json) as api:
        document = api.fetch_result(job).document
        if as_json:
            print_json(document)
        else:
            print_result(Console(), document, api.fetch_job(job))


@app.command()
def cancel(job: JobId, api_url: Url = None, api_key: ApiKey = None, as_json: Json = False) -> None:
    """End a job that has not ended, at any stage."""
    with connected(api_url, api_key, as_json) as api:
        cancelled = api.cancel(job)
        _tell_job(cancelled, f"{cancelled.id} is {cancelled.state}.", as_json)


@app.command()
def retry(job: JobId, api_url: Url = None, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Run a failed job again; what had finished of it is kept."""
    with connected(api_url, api_key, as_json) as api:
        again = api.retry(job)
        _tell_job(again, f"{again.id} is {again.state}.\nFollow it: ctclip watch {again.id}", as_json)


app.command()(batch)


def main() -> None:
    """Run the command line."""
    app()


def _follow(api: Client, job_id: str, as_json: bool) -> list[Job]:
    """Return a job as it ended or, where it was split, the jobs of its studies."""
    console = Console(stderr=True, quiet=as_json)
    job = watch_jobs(api, {"study": job_id}, console)["study"]
    if not job.parts:
        return [job]
    parts = {f"study {number}": part for number, part in enumerate(job.parts, start=1)}
    return list(watch_jobs(api, parts, console).values())


def _show_outcomes(api: Client, jobs: Sequence[Job], as_json: bool) -> None:
    for number, job in enumerate(jobs, start=1):
        _show_outcome(api, job, as_json, of_study=f" of study {number}" if len(jobs) > 1 else "")
    if not all(job.has_succeeded for job in jobs):
        raise typer.Exit(NO_RESULT)


def _show_outcome(api: Client, job: Job, as_json: bool, *, of_study: str = "") -> None:
    """Print what a job ended with: a result, what a validation found, or why there is neither."""
    if job.has_result:
        document = api.fetch_result(job.id).document
        print_json(document) if as_json else print_result(Console(), document, job, title=f"Result{of_study}")
    elif job.has_succeeded:
        found = api.fetch_intake(job.id)
        print_json(found) if as_json else print_validation(Console(), found, title=f"Validation{of_study}")
    else:
        print_json(job.document) if as_json else _explain(api, job, title=f"Result{of_study}")


def _explain(api: Client, job: Job, *, title: str) -> None:
    print_failure(Console(), job, api.fetch_advice(job.problem.code) if job.problem else None, title=title)


add_plugins(app)
