"""Making a backup: rows as they stand at one moment, then the objects that they name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine

from deploy.backups.manifest import OBJECTS, Manifest, place_object
from deploy.backups.rows import list_objects, snapshot, write_rows
from shared.database import fetch_schema_revision
from shared.errors import Defect
from shared.settings import Settings
from shared.storage import ObjectStore, StoredObject

OnObject = Callable[[int, int], None]
"""Told how many objects were copied, of how many."""


def save(engine: Engine, store: ObjectStore, settings: Settings, folder: Path, on_object: OnObject) -> Manifest:
    """Write a backup into an empty folder. Each object is compared with the digest of its row on the way.

    Raises Defect when the folder is not empty, TransientFault when database or storage fail; then there is no manifest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise Defect(f"{folder} is not empty; a backup goes into a folder of its own")
    folder.chmod(0o700)
    created_at = datetime.now(UTC).isoformat()
    with snapshot(engine) as session:
        revision = fetch_schema_revision(session)
        tables = write_rows(session, folder)
        named = list_objects(session)
    gone = _copy_objects(store, folder, named, on_object)
    manifest = Manifest(
        created_at=created_at,
        schema_revision=str(revision),
        bucket=settings.storage_bucket,
        tables=tables,
        objects=[stored for stored in named if stored.key not in gone],
        gone=sorted(gone),
    )
    manifest.write(folder)
    return manifest


def _copy_objects(store: ObjectStore, folder: Path, named: Sequence[StoredObject], on_object: OnObject) -> set[str]:
    """Copy objects and return the keys of those that are there no more: retention goes on meanwhile."""
    (folder / OBJECTS).mkdir()
    gone: set[str] = set()
    for number, stored in enumerate(named, start=1):
        path = place_object(folder, stored.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("wb") as target:
                store.fetch(stored, target)
        except Defect:
            path.unlink(missing_ok=True)
            gone.add(stored.key)
        on_object(number, len(named))
    return gone
