"""`ctclip bench`: the benchmarks by their names."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

_FOLDER = Path(__file__).parent
_NO_BENCHMARKS = frozenset({"__init__", "command", "noop_worker", "stack"})


app = typer.Typer(add_completion=False)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def bench(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Which one; without it, all are listed.")] = None,
) -> None:
    """Run a benchmark; what stands behind its name is passed on to it. Each prints what it compares and its ratios.

    `intake` needs further packages: pip install -r requirements-bench.lock.
    """
    names = list_benchmarks()
    if name is None:
        for each in names:
            typer.echo(each)
        raise typer.Exit(0)
    if name not in names:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(names)}", param_hint="NAME")
    # A process of its own: a benchmark measures its memory and chooses its threads.
    done = subprocess.run([sys.executable, "-m", f"{__package__}.{name}", *context.args], check=False)
    raise typer.Exit(done.returncode)


def list_benchmarks() -> list[str]:
    """Return the names of all benchmarks."""
    return sorted(name for name in _list_modules() if name not in _NO_BENCHMARKS)


def _list_modules() -> Iterable[str]:
    for path in _FOLDER.iterdir():
        if path.suffix == ".py":
            yield path.stem
        elif (path / "__main__.py").exists():
            yield path.name
