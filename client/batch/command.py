"""`ctclip batch`: read every study of a folder into one sheet."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live

from client.asynchronous import AsyncClient
from client.batch.journal import Journal, JournalRefused, open_journal
from client.batch.outcomes import FILE_UNREADABLE, NOT_FINISHED, Outcome
from client.batch.progress import BarProgress, LineProgress, Progress, QuietProgress
from client.batch.running import PATIENCE_S, Batch, list_outcomes, run_batch
from client.batch.sheets import make_sheets
from client.batch.studies import ENDINGS, Study, find_studies
from client.batch.writing import FormatUnavailable, check_format, write_sheets
from client.connecting import ApiKey, Json, Url, choose_access, exit_status_of
from client.errors import ClientError
from client.statuses import INTERRUPTED, NO_RESULT, TRY_AGAIN

Concurrency = Annotated[int, typer.Option(min=1, max=64, help="Studies under way at once.")]


def batch(
    *,
    input_dir: Annotated[
        Path, typer.Option("--input-dir", exists=True, file_okay=False, help="Folder of ZIP and NIfTI files.")
    ],
    output: Annotated[
        Path, typer.Option("--output", dir_okay=False, help="Sheet to write: .xlsx, .csv or .parquet.")
    ] = Path("results.xlsx"),
    api_url: Url = None,
    api_key: ApiKey = None,
    concurrency: Concurrency = 4,
    models: Annotated[str | None, typer.Option(help="Only these models, separated by commas.")] = None,
    policy: Annotated[str | None, typer.Option(help="Decide under this policy of the installation.")] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=9, help="9 is read first, 5 is usual.")] = None,
    study_limit_s: Annotated[float, typer.Option(min=1, help="Seconds to wait for one study.")] = 3600.0,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Send studies that ended without a result in the run before again.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget the run before: send every study again.")] = False,
    as_json: Json = False,
) -> None:
    """Read every study of a folder, and write one row for each into a sheet, failures too.

    A batch that was stopped or killed goes on when it is started again: OUTPUT.journal remembers what was sent.
    """
    studies = _find(input_dir, output)
    url, key = choose_access(api_url, api_key)
    asked = {"models": models, "policy": policy, "priority": None if priority is None else str(priority)}
    options = {name: value for name, value in asked.items() if value is not None}
    with _opened(output.with_name(f"{output.name}.journal"), options, is_fresh=fresh) as journal:
        whole = Batch(studies, journal, options, concurrency, study_limit_s)
        _prepare(whole, retry_failed=retry_failed)
        status = _run(whole, url, key, as_json)
        outcomes = list_outcomes(whole)
        files = write_sheets(make_sheets(outcomes), output)
    _tell(outcomes, files, as_json)
    raise typer.Exit(status or _judge(outcomes))


def _find(input_dir: Path, output: Path) -> Sequence[Study]:
    try:
        check_format(output)
    except FormatUnavailable as error:
        raise typer.BadParameter(str(error), param_hint="--output") from error
    if not output.parent.is_dir():
        raise typer.BadParameter(f"{output.parent} is no folder.", param_hint="--output")
    studies = find_studies(input_dir)
    if not studies:
        raise typer.BadParameter(
            f"There is no file that ends in {', '.join(ENDINGS)} in {input_dir}. `ctclip prepare` makes ZIPs of DICOM.",
            param_hint="--input-dir",
        )
    return studies


@contextmanager
def _opened(path: Path, options: dict[str, str], *, is_fresh: bool) -> Iterator[Journal]:
    try:
        with open_journal(path, options, is_fresh=is_fresh) as journal:
            yield journal
    except JournalRefused as error:
        raise typer.BadParameter(str(error), param_hint="--output") from error


def _prepare(whole: Batch, *, retry_failed: bool) -> None:
    whole.journal.plan(whole.studies)
    for study in whole.studies:
        outcome = whole.journal.get(study).outcome
        if retry_failed and outcome is not None and not outcome.has_result:
            whole.journal.plan_again(study)


def _run(whole: Batch, url: str, api_key: str | None, as_json: bool) -> int:
    """Return the exit status that the end of the run asks for, 0 when it came to its own."""
    try:
        error = asyncio.run(_send(whole, url, api_key, as_json))
    except KeyboardInterrupt:
        typer.echo("Stopped. Run the same command again: it goes on.", err=True)
        return INTERRUPTED
    if error is None:
        return 0
    typer.echo(f"{error}\nRun the same command again: it goes on.", err=True)
    return exit_status_of(error)


async def _send(whole: Batch, url: str, api_key: str | None, as_json: bool) -> ClientError | None:
    done = sum(whole.journal.get(study).outcome is not None for study in whole.studies)
    async with AsyncClient(url, api_key=api_key, retry_limit_s=PATIENCE_S) as api:
        with _shown(Console(stderr=True), len(whole.studies), done, as_json) as progress:
            return await run_batch(api, whole, progress)


@contextmanager
def _shown(console: Console, total: int, done: int, as_json: bool) -> Iterator[Progress]:
    if as_json:
        yield QuietProgress()
    elif console.is_terminal:
        bars = BarProgress(console, total, done)
        with Live(Group(bars.bars, bars.total), console=console, refresh_per_second=8):
            yield bars
    else:
        yield LineProgress(console, total, done)


def _tell(outcomes: Sequence[Outcome], files: Sequence[Path], as_json: bool) -> None:
    summary: dict[str, Any] = {
        "studies": len(outcomes),
        "with_result": sum(outcome.has_result for outcome in outcomes),
        "without_result": dict(Counter(outcome.problem_code for outcome in outcomes if not outcome.has_result)),
        "files": [str(file) for file in files],
    }
    if as_json:
        typer.echo(json.dumps(summary))
        return
    typer.echo(f"{summary['with_result']} of {summary['studies']} studies have a result: {', '.join(summary['files'])}")
    for code, count in summary["without_result"].items():
        typer.echo(f"  {count} {code}")


def _judge(outcomes: Sequence[Outcome]) -> int:
    if any(outcome.problem_code in {NOT_FINISHED, FILE_UNREADABLE} for outcome in outcomes):
        return TRY_AGAIN
    return 0 if all(outcome.has_result for outcome in outcomes) else NO_RESULT
