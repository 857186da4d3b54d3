"""Putting a backup back into an empty installation: everything is verified first, rows come in one transaction."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from deploy.backups.manifest import Manifest, find_faults, place_object
from deploy.backups.rows import find_filled, read_rows
from deploy.backups.saving import OnObject
from migrations import upgrade
from shared.database import SCHEMA_REVISION, SWEEP_LOCK, fetch_schema_revision, holding_lock, transaction
from shared.errors import Defect
from shared.settings import Settings
from shared.storage import ObjectStore

_MOST_NAMED = 5


def check(folder: Path) -> Manifest:
    """Read a whole backup. Raises Defect that names what is missing or was changed."""
    manifest = Manifest.read(folder)
    faults = list(find_faults(folder, manifest))
    if faults:
        raise Defect(f"the backup is damaged: {', '.join(faults[:_MOST_NAMED])}")
    return manifest


def restore(
    engine: Engine, store: ObjectStore, settings: Settings, folder: Path, on_object: OnObject
) -> tuple[Manifest, int]:
    """Put a backup back and return it with the number of rows. Raises Defect where anything is there already.

    One that broke off can be repeated: objects of this backup may be there already, rows come last and all at once.
    """
    manifest = check(folder)
    if manifest.schema_revision > SCHEMA_REVISION:
        raise Defect(f"the backup is of schema {manifest.schema_revision}, newer than this version's {SCHEMA_REVISION}")
    with holding_lock(engine, SWEEP_LOCK) as is_held:
        if not is_held:
            raise Defect("another restore, or the sweep of control, is under way here: try again once it has ended")
        _require_empty(engine, store, manifest)
        _migrate(engine, settings, manifest)
        _put_objects(store, folder, manifest, on_object)
        with transaction(engine) as session:
            rows = read_rows(session, folder, manifest)
    upgrade(settings.database_url.get_secret_value())
    return manifest, rows


def _put_objects(store: ObjectStore, folder: Path, manifest: Manifest, on_object: OnObject) -> None:
    for number, stored in enumerate(manifest.objects, start=1):
        with place_object(folder, stored.key).open("rb") as stream:
            store.put_back(stored, stream)
        on_object(number, len(manifest.objects))


def _require_empty(engine: Engine, store: ObjectStore, manifest: Manifest) -> None:
    with transaction(engine) as session:
        filled = [] if fetch_schema_revision(session) is None else find_filled(session)
    if filled:
        raise Defect(f"the installation is in use: there are rows in {', '.join(filled)}")
    store.ensure_bucket()
    strangers = {key for key, _ in store.iterate_keys()} - {stored.key for stored in manifest.objects}
    if strangers:
        raise Defect(f"the bucket is in use: there are {len(strangers)} objects that the backup does not name")


def _migrate(engine: Engine, settings: Settings, manifest: Manifest) -> None:
    """Bring an empty database to the schema of the backup; the newest comes afterwards."""
    with transaction(engine) as session:
        has_schema = fetch_schema_revision(session) is not None
    if not has_schema:
        upgrade(settings.database_url.get_secret_value(), manifest.schema_revision)
