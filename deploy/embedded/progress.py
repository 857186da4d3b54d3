"""What a person sees while a stack starts, runs and stops: one line for every process, said once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from deploy.embedded.child import ChildState
from deploy.embedded.credentials import FLOWER_USER
from deploy.embedded.report import ProcessReport, StackPhase, StackReport

DOCS_PATH = "/docs"

_NAME_WIDTH = 14
_LABEL_WIDTH = 11


class StackProgress:
    """Says what changed from one report to the next."""

    def __init__(self, console: Console, status: Status) -> None:
        self._console = console
        self._status = status
        self._said: dict[str, tuple[ChildState, int]] = {}

    def show(self, report: StackReport) -> None:
        """Print what is new in a report and name what is waited for."""
        if report.phase not in {StackPhase.STOPPING, StackPhase.STOPPED, StackPhase.FAILED}:
            for name, process in report.processes.items():
                self._say(name, process)
        self._status.update(_describe_wait(report))
        if report.phase is StackPhase.READY:
            self._status.stop()
        elif report.phase is not StackPhase.FAILED:
            self._status.start()

    def _say(self, name: str, process: ProcessReport) -> None:
        now = (process.state, process.restarts)
        if self._said.get(name) == now:
            return
        self._said[name] = now
        if process.state is ChildState.READY:
            again = "" if process.restarts == 0 else f", started again ({process.restarts})"
            seconds = process.seconds_to_ready or 0.0
            self._console.print(f"  [green]ready[/]  {name:{_NAME_WIDTH}} [dim]{seconds:5.1f} s{again}[/]")
        elif process.state is ChildState.WAITING:
            self._console.print(f"  [yellow]ended[/]  {name:{_NAME_WIDTH}} [dim]is started again[/]")


@contextmanager
def showing_progress(console: Console) -> Iterator[StackProgress]:
    """Show the progress of a stack on a console while the block runs."""
    with console.status("starting") as status:
        yield StackProgress(console, status)


def print_entrances(console: Console, report: StackReport, *, how_to_stop: str) -> None:
    """Print where the platform is reached, where its secrets and logs are, and how it is stopped."""
    state = _show(Path(report.state))
    lines = {
        "API": f"{report.url}",
        "Docs page": f"{report.url}{DOCS_PATH}",
        "Flower": f"{report.flower_url}",
        "  user": FLOWER_USER,
        "  password": f"[dim]flower_password in[/] {state}/secrets.json",
        "State": f"{state}  [dim]data, secrets and logs[/]",
        "Stop": how_to_stop,
    }
    for name, text in lines.items():
        console.print(f"  {name:{_LABEL_WIDTH}} {text}", soft_wrap=True, highlight=False)


def print_status(console: Console, report: StackReport) -> None:
    """Print every process of the platform."""
    console.print(f"[bold]{report.phase}[/]  {report.url or ''}", highlight=False)
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for heading, side in (("process", "left"), ("pid", "right"), ("state", "left"), ("restarts", "right")):
        table.add_column(heading, justify="right" if side == "right" else "left")
    for name, process in report.processes.items():
        colour = "green" if process.state is ChildState.READY else "yellow"
        table.add_row(name, str(process.identity.pid), f"[{colour}]{process.state}[/]", str(process.restarts))
    console.print(table)


def _describe_wait(report: StackReport) -> str:
    if report.phase is StackPhase.STOPPING:
        running = [name for name, process in report.processes.items() if process.state is not ChildState.STOPPED]
        return f"stopping {', '.join(running)}".rstrip()
    waited = [name for name, process in report.processes.items() if process.state is not ChildState.READY]
    return f"waiting for {', '.join(waited)}" if waited else "preparing the database"


def _show(path: Path) -> str:
    return escape(str(path).replace(str(Path.home()), "~", 1) if path.is_relative_to(Path.home()) else str(path))
