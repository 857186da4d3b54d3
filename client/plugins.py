"""Commands of the platform that join `ctclip` where it is installed: listed at once, loaded only when called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, distributions
from typing import Any, NoReturn

import typer

GROUP = "ctclip.commands"
EXTRA_MISSING = 69
"""Exit status of a command whose extra is not installed (EX_UNAVAILABLE)."""


@dataclass(frozen=True)
class KnownCommand:
    """A command of the platform: what it does in one line, and which extra brings it."""

    summary: str
    extra: str


KNOWN: Mapping[str, KnownCommand] = {
    "demo": KnownCommand("Start everything, read a real chest CT and a phantom, explain both results.", "embedded"),
    "up": KnownCommand("Start the whole platform on this machine.", "embedded"),
    "status": KnownCommand("Show the processes of the platform on this machine.", "embedded"),
    "down": KnownCommand("Stop the platform on this machine; its data is kept.", "embedded"),
    "inspect": KnownCommand("Read a study without a server: files, candidates, geometry, problems.", "worker"),
    "phantom": KnownCommand("Make a chest CT with chosen findings from nothing.", "phantom"),
    "acceptance": KnownCommand("Send bad and good inputs to a platform and compare its answers.", "corpus"),
    "models": KnownCommand("List, verify, convert and compare model weights; pause and resume models.", "worker"),
    "policies": KnownCommand("List policies; check one of your own before it is installed.", "worker"),
    "verify": KnownCommand("Hold a result against its signed receipt, without the platform.", "verify"),
    "replay": KnownCommand("Run a job again from its manifest and compare every feature.", "worker"),
    "prepare": KnownCommand("Make one ZIP for each study of a folder tree of DICOM files.", "prepare"),
    "webhook": KnownCommand("Verify messages of webhooks.", "webhook"),
    "keys": KnownCommand("Make, list and revoke API keys of a platform.", "embedded"),
    "audit": KnownCommand("Show the log of what was done; prove that nobody changed it.", "embedded"),
    "jobs": KnownCommand("List the jobs of all tenants; show everything about one.", "embedded"),
    "dead-letters": KnownCommand(
        "Stages that a defect ended: look at them, run them again, put them away.", "embedded"
    ),
    "backup": KnownCommand("Copy all rows and objects of a platform into a folder.", "embedded"),
    "restore": KnownCommand("Verify a backup and put it into an empty installation.", "embedded"),
    "bench": KnownCommand("Run benchmarks of the platform by their names.", "embedded"),
    "doctor": KnownCommand("Name the broken link of a platform, and what to do next.", "embedded"),
    "reconcile": KnownCommand("Compare objects, rows and queues of a platform.", "worker"),
    "evaluate": KnownCommand("Measure what installed weights are worth, on phantoms or on your studies.", "embedded"),
    "self-check": KnownCommand("Show or run the check that sends a phantom through the platform.", "embedded"),
    "drift": KnownCommand("Compare the features of recent studies with those of the training.", "embedded"),
}

_PASS_ALL = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
_PANEL = "Platform"


def add_plugins(
    app: typer.Typer, *, group: str = GROUP, known: Mapping[str, KnownCommand] = KNOWN, prefix: str = "ctclip"
) -> None:
    """Give `app` a command for every one that is known or installed; what it is comes in when it is called."""
    installed = find_installed(group)
    for name in [*known, *sorted(installed.keys() - known.keys())]:
        about = known.get(name, KnownCommand(f"Command of {_name_origin(installed.get(name))}.", "embedded"))
        command = _make_command(f"{prefix} {name}", installed.get(name), about)
        app.command(
            name,
            help=about.summary,
            rich_help_panel=_PANEL,
            add_help_option=False,
            context_settings=_PASS_ALL,
        )(command)


def find_installed(group: str = GROUP) -> dict[str, EntryPoint]:
    """Return the entry points of a group of all installed packages by name, the first one found of each.

    Every distribution is looked at, also one of a name that came before: in a checkout, an old `egg-info` stands in
    front of the real installation.
    """
    found: dict[str, EntryPoint] = {}
    for distribution in distributions():
        for point in distribution.entry_points:
            if point.group == group:
                found.setdefault(point.name, point)
    return found


def _make_command(name: str, point: EntryPoint | None, known: KnownCommand) -> Callable[[typer.Context], None]:
    def run(context: typer.Context) -> None:
        application = _load(name, point, known)
        application(args=context.args, prog_name=name)

    return run


def _load(name: str, point: EntryPoint | None, known: KnownCommand) -> typer.Typer:
    if point is None:
        _explain_missing(name, known, "")
    try:
        loaded: Any = point.load()
    except ModuleNotFoundError as error:
        _explain_missing(name, known, f" ({error})")
    return loaded if isinstance(loaded, typer.Typer) else _wrap(loaded)


def _wrap(function: Callable[..., Any]) -> typer.Typer:
    application = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)
    application.command()(function)
    return application


def _explain_missing(name: str, known: KnownCommand, why: str) -> NoReturn:
    typer.echo(
        f"`{name}` belongs to a part of the platform that is not installed here{why}. "
        f"Install it, in the folder of the sources: pip install '.[{known.extra}]'",
        err=True,
    )
    raise typer.Exit(EXTRA_MISSING)


def _name_origin(point: EntryPoint | None) -> str:
    return point.dist.name if point is not None and point.dist is not None else "another package"
