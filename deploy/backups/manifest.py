"""What a backup holds: its tables and objects with their digests, as one JSON file that is written last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from shared.errors import Defect
from shared.storage import StoredObject

FORMAT = 1
MANIFEST = "manifest.json"
ROWS, OBJECTS = "rows", "objects"


@dataclass(frozen=True)
class TableFile:
    """The rows of a table as PostgreSQL's COPY writes them."""

    table: str
    columns: Sequence[str]
    rows: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """A whole backup. `gone` are objects that rows name and that retention had removed before they were copied."""

    created_at: str
    schema_revision: str
    bucket: str
    tables: Sequence[TableFile]
    objects: Sequence[StoredObject]
    gone: Sequence[str]
    format: int = FORMAT

    def write(self, folder: Path) -> None:
        """Write the file in one step: a backup without it is none."""
        draft = folder / f"{MANIFEST}.new"
        draft.write_text(json.dumps(asdict(self)), encoding="utf-8")
        draft.replace(folder / MANIFEST)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the manifest of a backup. Raises Defect when there is none that this version reads."""
        try:
            kept = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            if kept.pop("format") != FORMAT:
                raise Defect(f"the backup is of another format than {FORMAT}")
            tables = [TableFile(**each) for each in kept.pop("tables")]
            return cls(tables=tables, objects=[StoredObject(**each) for each in kept.pop("objects")], **kept)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Defect(f"there is no whole backup in {folder}") from error


def place_table(folder: Path, table: str) -> Path:
    """Return where the rows of a table lie."""
    return folder / ROWS / f"{table}.copy"


def place_object(folder: Path, key: str) -> Path:
    """Return where an object lies. Raises Defect for a key that leads out of the folder."""
    path = (folder / OBJECTS / key).resolve()
    if not path.is_relative_to((folder / OBJECTS).resolve()):
        raise Defect(f"the backup names an object that lies outside of it: {key}")
    return path


def find_faults(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Read everything and yield what is missing or not as it was written."""
    for table in manifest.tables:
        if compute_sha256(place_table(folder, table.table)) != table.sha256:
            yield f"the rows of {table.table}"
    for stored in manifest.objects:
        if compute_sha256(place_object(folder, stored.key)) != stored.sha256:
            yield f"the object {stored.key}"


def compute_sha256(path: Path) -> str | None:
    """Return the digest of a file; None where there is none."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None
