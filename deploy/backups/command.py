"""`ctclip backup` and `ctclip restore`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from sqlalchemy import Engine

from deploy.access.joined import Json, State
from deploy.backups.manifest import Manifest
from deploy.backups.restoring import check
from deploy.backups.restoring import restore as put_back
from deploy.backups.saving import OnObject, save
from deploy.embedded.joining import join_stack
from shared.database import make_engine
from shared.errors import Defect, TransientFault
from shared.settings import Settings, get_settings
from shared.storage import ObjectStore

REFUSED = 1
"""Exit status when a backup is damaged, or the place for it is not empty."""
UNUSABLE = 2
"""Exit status when the platform cannot be reached."""

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the backup.")]


def backup(folder: Folder, state: State = None, as_json: Json = False) -> None:
    """Copy all rows, as they stand at one moment, and the objects that they name into an empty folder.

    The platform goes on meanwhile. Keep the secrets of the installation apart: the keys of pseudonyms and receipts, the
    settings, imported weights and policies are not in it.
    """
    join_stack(state)
    with _explained(), _joined() as (engine, store, settings), _progress(as_json) as on_object:
        manifest = save(engine, store, settings, folder, on_object)
    _tell(manifest, "Kept", as_json)
    if manifest.gone and not as_json:
        typer.echo(f"{len(manifest.gone)} objects were removed by retention meanwhile; the manifest names them.")


def restore(
    folder: Folder,
    *,
    only_check: Annotated[bool, typer.Option("--check", help="Only read the backup and compare all digests.")] = False,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Verify a backup and put it into an empty installation; nothing is changed where rows or objects are already.

    The database may be without a schema. Afterwards start the platform, or restart control: it plans by what is
    installed there.
    """
    with _explained():
        if only_check:
            _tell(check(folder), "Whole", as_json)
            return
        join_stack(state)
        with _joined() as (engine, store, settings), _progress(as_json) as on_object:
            manifest, _ = put_back(engine, store, settings, folder, on_object)
    _tell(manifest, "Restored", as_json)


@contextmanager
def _joined() -> Iterator[tuple[Engine, ObjectStore, Settings]]:
    settings = get_settings()
    engine = make_engine(settings, pool_size=2, application_name="ctclip-backup")
    try:
        yield engine, ObjectStore(settings), settings
    finally:
        engine.dispose()


@contextmanager
def _progress(as_json: bool) -> Iterator[OnObject]:
    columns = (TextColumn("objects"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True, quiet=as_json), transient=True) as progress:
        task = progress.add_task("objects", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except Defect as defect:
        typer.echo(f"Refused: {defect}.", err=True)
        raise typer.Exit(REFUSED) from defect
    except ValidationError as error:
        typer.echo("The CTCLIP_* settings cannot be used.", err=True)
        raise typer.Exit(UNUSABLE) from error
    except TransientFault as fault:
        typer.echo(f"Broke off: {fault}. `ctclip doctor` says what is unwell.", err=True)
        raise typer.Exit(UNUSABLE) from fault
    except OSError as error:
        typer.echo(f"Broke off: {error.strerror or type(error).__name__}.", err=True)
        raise typer.Exit(UNUSABLE) from error


def _tell(manifest: Manifest, word: str, as_json: bool) -> None:
    rows, objects = sum(table.rows for table in manifest.tables), len(manifest.objects)
    size = sum(stored.size_bytes for stored in manifest.objects)
    if as_json:
        told = {"rows": rows, "objects": objects, "bytes": size, "gone": len(manifest.gone)}
        typer.echo(json.dumps({**told, "schema_revision": manifest.schema_revision, "created_at": manifest.created_at}))
    else:
        typer.echo(f"{word}: {rows} rows, {objects} objects, {size / 1e6:.1f} MB, of {manifest.created_at}.")
