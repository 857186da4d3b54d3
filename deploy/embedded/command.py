"""`ctclip up`, `status` and `down`: the whole platform on this machine."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from deploy.embedded import control
from deploy.embedded.launcher import Launcher
from deploy.embedded.platform_programs import product_platform
from deploy.embedded.problems import StackProblem
from deploy.embedded.progress import print_entrances, print_status, showing_progress
from deploy.embedded.report import StackPhase, StackReport, find_ready, find_running
from deploy.embedded.state_folder import StateFolder, default_state

NOT_RUNNING = 3
"""Exit status of `ctclip status` when nothing runs, as `systemctl status` has it."""

STARTED_AT = "CTCLIP_DEMO_STARTED_AT"
"""Seconds since the epoch at which `make` began; the Makefile sets it for whatever it starts."""

State = Annotated[
    Path | None,
    typer.Option("--state", metavar="DIR", help="State folder; default: $CTCLIP_STATE or ~/.local/state/ctclip."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]

_FOREGROUND_STOP = "Ctrl-C"


def up(
    state: State = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return once everything is ready.")] = False,
    as_json: Json = False,
) -> None:
    """Start the whole platform on this machine: servers, gateway, workers, Flower. Ctrl-C stops it.

    Where it runs already, its addresses are printed.
    """
    with _problems_explained(as_json):
        folder = StateFolder.prepare(state or default_state())
        running = find_ready(folder)
        if running is not None:
            _show_running(running, folder, as_json)
        elif detach:
            _start_detached(folder, as_json)
        else:
            _run_in_foreground(folder, as_json)


def status(state: State = None, as_json: Json = False) -> None:
    """Show the processes of the platform on this machine; exit status 3 when none runs."""
    folder = StateFolder((state or default_state()).expanduser().resolve())
    report = find_running(folder)
    if as_json:
        typer.echo(json.dumps(report.public() if report else _describe_nothing(folder)))
    elif report:
        print_status(Console(), report)
        print_entrances(Console(), report, how_to_stop=describe_stop(folder))
    else:
        typer.echo(f"Nothing runs in {folder.root}. `ctclip up` starts the platform.")
    raise typer.Exit(0 if report else NOT_RUNNING)


def down(state: State = None, as_json: Json = False) -> None:
    """Stop the platform on this machine and keep its data."""
    folder = StateFolder((state or default_state()).expanduser().resolve())
    console = Console(quiet=as_json)
    with _problems_explained(as_json), showing_progress(console) as progress:
        stopped = control.stop(folder, progress.show)
    if as_json:
        typer.echo(json.dumps({"stopped": stopped, "state": str(folder.root)}))
    else:
        typer.echo(f"Stopped. The data stays in {folder.root}." if stopped else f"Nothing ran in {folder.root}.")


def start_shown(folder: StateFolder, console: Console) -> StackReport:
    """Start a detached stack and show on a console how it goes. Raises StackProblem when it does not get ready."""
    with showing_progress(console) as progress:
        return control.start_detached(folder, environment=os.environ, on_report=progress.show)


def _show_running(report: StackReport, folder: StateFolder, as_json: bool) -> None:
    console = Console(quiet=as_json)
    console.print(f"The platform runs already at {report.url}.", highlight=False)
    _announce(console, report, describe_stop(folder), as_json)


def _announce(console: Console, report: StackReport, how_to_stop: str, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report.public()))
    print_entrances(console, report, how_to_stop=how_to_stop)


def _start_detached(folder: StateFolder, as_json: bool) -> None:
    console = Console(quiet=as_json)
    _announce(console, start_shown(folder, console), describe_stop(folder), as_json)


def _run_in_foreground(folder: StateFolder, as_json: bool) -> None:
    console = Console(quiet=as_json)
    with showing_progress(console) as progress:

        def announce(report: StackReport) -> None:
            _announce(console, report, _FOREGROUND_STOP, as_json)

        on_report = _when_first_ready(progress.show, announce)
        Launcher(folder, product_platform(), environment=os.environ, on_report=on_report).run()
    console.print("Stopped. The data is kept.")


def _when_first_ready(
    show: Callable[[StackReport], None], announce: Callable[[StackReport], None]
) -> Callable[[StackReport], None]:
    """Return `show`, followed once by `announce` when the stack is ready for the first time."""
    announced = False

    def on_report(report: StackReport) -> None:
        nonlocal announced
        show(report)
        if report.phase is StackPhase.READY and not announced:
            announced = True
            announce(report)

    return on_report


@contextmanager
def _problems_explained(as_json: bool) -> Iterator[None]:
    try:
        yield
    except StackProblem as problem:
        _explain(problem, as_json)


def _explain(problem: StackProblem, as_json: bool) -> NoReturn:
    if as_json:
        typer.echo(json.dumps({"phase": StackPhase.FAILED, "failure": str(problem)}))
    typer.echo(str(problem), err=True)
    raise typer.Exit(1)


def _describe_nothing(folder: StateFolder) -> Mapping[str, object]:
    return {
        "url": None,
        "flower_url": None,
        "api_key": None,
        "state": str(folder.root),
        "phase": StackPhase.STOPPED,
        "failure": None,
        "pids": {},
        "processes": {},
    }


def describe_stop(folder: StateFolder) -> str:
    """Return the command that stops the platform of a folder, in the words of whoever started this one."""
    # A folder that the environment names is named all the same: the next shell may know nothing of it.
    if os.environ.get("CTCLIP_STATE") or folder.root != default_state().expanduser().resolve():
        return f"{_find_ctclip()} down --state {shlex.quote(str(folder.root))}"
    return "make down" if os.environ.get(STARTED_AT) else f"{_find_ctclip()} down"


def _find_ctclip() -> str:
    """Return how the command is called from here: by its name, or by its path when it is not in the search path."""
    beside_python = Path(sysconfig.get_path("scripts")) / "ctclip"
    if shutil.which("ctclip") or not beside_python.exists():
        return "ctclip"
    here = Path.cwd()
    return str(beside_python.relative_to(here) if beside_python.is_relative_to(here) else beside_python)
