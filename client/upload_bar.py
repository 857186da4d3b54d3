"""A bar for one upload, on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from client.exchange import OnProgress


@contextmanager
def shown_upload(name: str, *, is_quiet: bool) -> Iterator[OnProgress | None]:
    """Yield whom an upload is to tell how far it is; None where nobody looks."""
    console = Console(stderr=True)
    if is_quiet or not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(f"Sending {escape(name)}", total=None)
        yield lambda sent_bytes, size_bytes: bars.update(task, completed=sent_bytes, total=size_bytes)
