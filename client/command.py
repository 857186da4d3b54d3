"""The `ctclip` command: submit a study, follow its job, read its result; and the platform's own commands."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from client.api import Client
from client.documents import Document, Job, ResultDocument
from client.errors import ApiError, ClientError
from client.local_stack import choose_url
from client.plugins import add_plugins
from client.rendering import print_failure, print_result, print_validation
from client.watching import watch_jobs
from client.words import ADVICE

NO_RESULT = 1
"""Exit status when the job has ended without a result, or the API refused."""

Url = Annotated[
    str | None,
    typer.Option(
        envvar="CTCLIP_API_URL",
        metavar="URL",
        help="Address of the API; default: the platform that runs on this machine, else http://localhost:8000.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.")]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    help="Send a chest CT, get one explained probability. Research use only.",
)


@app.command()
def submit(
    study: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="ZIP of one DICOM study, or NIfTI.")
    ],
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job and print its result.")] = False,
    models: Annotated[str | None, typer.Option(help="Only these models, separated by commas.")] = None,
    series_instance_uid: Annotated[str | None, typer.Option(help="Read this series of the study.")] = None,
    policy: Annotated[str | None, typer.Option(help="Decide under this policy of the installation.")] = None,
    validate_only: Annotated[
        bool, typer.Option("--validate-only", help="Only say whether the study would be accepted; no model runs.")
    ] = False,
    split: Annotated[bool, typer.Option("--split", help="Make one job for each study of the ZIP.")] = False,
    priority: Annotated[int | None, typer.Option(min=0, max=9, help="9 is read first, 5 is usual.")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="Repeat with the same key: the same job.")] = None,
    api_url: Url = None,
    as_json: Json = False,
) -> None:
    """Send a study and print its job; with --wait, its result."""
    options = {
        "models": models,
        "series_instance_uid": series_instance_uid,
        "policy": policy,
        "validate_only": "true" if validate_only else None,
        "split": "true" if split else None,
        "priority": None if priority is None else str(priority),
    }
    given = {name: value for name, value in options.items() if value is not None}
    with _connected(api_url, as_json) as api:
        job = api.submit(study, idempotency_key=idempotency_key, **given)
        if wait:
            _show_outcomes(api, _follow(api, job.id, as_json), as_json)
        elif as_json:
            _print_json(job.document)
        else:
            typer.echo(f"{job.id}\nFollow it: ctclip watch {job.id}\nRead it:   ctclip result {job.id}")


@app.command()
def watch(job: JobId, api_url: Url = None, as_json: Json = False) -> None:
    """Follow a job until it has ended; with --json, one line for every change."""
    with _connected(api_url, as_json) as api:
        if as_json:
            last: Job | None = None
            for last in api.iterate_updates(job):
                _print_json(last.document)
            has_succeeded = last is not None and last.has_succeeded
        else:
            ended = watch_jobs(api, {"job": job}, Console())["job"]
            has_succeeded = ended.has_succeeded
            if ended.has_result:
                typer.echo(f"Read it: ctclip result {job}")
            else:
                _show_outcome(api, ended, as_json=False)
    raise typer.Exit(0 if has_succeeded else NO_RESULT)


@app.command()
def result(job: JobId, api_url: Url = None, as_json: Json = False) -> None:
    """Print the result of a job."""
    with _connected(api_url, as_json) as api:
        document = api.fetch_result(job).document
        if as_json:
            _print_json(document)
        else:
            print_result(Console(), document, api.fetch_job(job))


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
        _print_json(document) if as_json else print_result(Console(), document, job, title=f"Result{of_study}")
    elif job.has_succeeded:
        found = api.fetch_intake(job.id)
        _print_json(found) if as_json else print_validation(Console(), found, title=f"Validation{of_study}")
    else:
        _print_json(job.document) if as_json else _explain(api, job, title=f"Result{of_study}")


def _explain(api: Client, job: Job, *, title: str) -> None:
    print_failure(Console(), job, api.fetch_advice(job.problem.code) if job.problem else None, title=title)


@contextmanager
def _connected(url: str | None, as_json: bool) -> Iterator[Client]:
    """Yield a client; what goes wrong with it is explained, and ends the command."""
    with Client(choose_url(url)) as api:
        try:
            yield api
        except ClientError as error:
            if as_json and isinstance(error, ApiError):
                _print_json(error.problem.document)
            typer.echo(str(error), err=True)
            if isinstance(error, ApiError) and (advice := _find_advice(api, error)):
                typer.echo(advice, err=True)
            raise typer.Exit(NO_RESULT) from error


def _find_advice(api: Client, error: ApiError) -> str | None:
    """Return what to do about a refusal: in the words of this command where it knows some, else of the API."""
    if error.problem.code in ADVICE:
        return ADVICE[error.problem.code]
    try:
        return error.problem.document.get("advice") or api.fetch_advice(error.problem.code)
    except ClientError:
        return None


def _print_json(document: Document | ResultDocument) -> None:
    typer.echo(json.dumps(document, ensure_ascii=False))


add_plugins(app)
