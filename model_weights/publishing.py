"""Putting a trained or converted model into a catalogue: complete beside the old one, then the catalogue is renamed.

A file's name holds the start of its digest, so that no other file takes its place, and the catalogue is the only
switch: whoever read the old one finds the old files. They stay, for workers open some only when they are needed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from model_weights.catalogue import CATALOGUE_FILE, CATALOGUE_NAME, ModelEntry, WeightFile, load_catalogue
from model_weights.verifying import compute_sha256
from shared.errors import Defect
from shared.settings import WeightsProfile
from shared.stages import StageName

_HEADER = (
    "# Models of this installation. Written by `training/` and by `ctclip models convert`; digests pin every file.\n"
)
CARD_NAME = "card.md"
_DRAFT = ".new"
_DIGITS = 8
"""Of a file's SHA-256 in its name; the catalogue pins all of it."""


def publish_entry(
    *,
    name: str,
    stage: StageName,
    version: str,
    weights_profile: WeightsProfile,
    architecture: Mapping[str, Any],
    preprocessing: Mapping[str, Any],
    labels: Sequence[str],
    thresholds: Mapping[str, float],
    sources: Mapping[str, Path],
    origin: str,
    licence: str,
    card: Path | None = None,
    catalogue: Path = CATALOGUE_FILE,
) -> ModelEntry:
    """Copy the files (role -> path) to `<profile>/<stage>/<role>-<digest><suffix>`; (re)write the entry.

    Raises Defect, and leaves everything as it was, when the entry is not valid or the disk does not take the files.
    """
    folder = catalogue.parent / weights_profile / stage
    with _told_disk(), _locked(catalogue.parent), _Drafts(folder) as drafts:
        entry = ModelEntry(
            name=name,
            stage=stage,
            version=version,
            weights_profile=weights_profile,
            architecture=architecture,
            preprocessing=preprocessing,
            labels=tuple(labels),
            thresholds=thresholds,
            files={role: drafts.copy_weights(role, source) for role, source in sources.items()},
            origin=origin,
            licence=licence,
            card=None if card is None else drafts.copy_card(card).relative_to(catalogue.parent).as_posix(),
        )
        draft = _write_entry(entry, catalogue)
        drafts.put_in_place()
        draft.replace(catalogue)
    return next(e for e in load_catalogue(catalogue) if e.stage is stage and e.weights_profile is weights_profile)


def make_catalogue_path(weights_dir: Path) -> Path:
    """Return where the catalogue of a folder of weights stands."""
    return weights_dir / CATALOGUE_NAME


class _Drafts:
    """Files of a folder under other names until all are there; removed when something goes wrong before."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._targets: dict[Path, Path] = {}

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        for draft in self._targets:
            draft.unlink(missing_ok=True)

    def copy_weights(self, role: str, source: Path) -> WeightFile:
        """Copy the file of a role, and return it as it will be."""
        draft = self._copy(source, f"{role}{source.suffix}")
        digest = compute_sha256(draft)
        target = self._targets[draft] = self._folder / f"{role}-{digest[:_DIGITS]}{source.suffix}"
        return WeightFile(role, target, digest, draft.stat().st_size)

    def copy_card(self, source: Path) -> Path:
        """Copy the card, and return where it will be: always the same place, for people look there and no worker."""
        return self._targets[self._copy(source, CARD_NAME)]

    def put_in_place(self) -> None:
        """Rename all."""
        for draft, target in self._targets.items():
            draft.replace(target)

    def _copy(self, source: Path, name: str) -> Path:
        draft = self._folder / f"{name}{_DRAFT}"
        self._targets[draft] = self._folder / name
        shutil.copyfile(source, draft)
        return draft


def _write_entry(entry: ModelEntry, catalogue: Path) -> Path:
    """Write the catalogue with this entry as a draft beside it and return that. Raises Defect when it is not valid."""
    known = load_catalogue(catalogue) if catalogue.exists() else ()
    place = (entry.weights_profile, entry.stage)
    kept = [other for other in known if (other.weights_profile, other.stage) != place]
    entries = sorted([*kept, entry], key=lambda each: (each.weights_profile, each.stage))
    text = "\n".join([_HEADER, *(_format_entry(each, catalogue.parent) for each in entries)])
    draft = catalogue.with_suffix(_DRAFT)
    try:
        draft.write_text(text, encoding="utf-8")
        load_catalogue(draft)
    except UnicodeEncodeError as error:
        draft.unlink(missing_ok=True)
        raise Defect("a catalogue cannot hold texts that are not Unicode") from error
    except (Defect, OSError):
        draft.unlink(missing_ok=True)
        raise
    return draft


@contextmanager
def _told_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise Defect(f"the folder of weights cannot be written: {reason}; nothing was changed") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder: who publishes next waits, so that no two write the same files or lose each other's entry."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _format_entry(entry: ModelEntry, folder: Path) -> str:
    plain = {
        "name": entry.name,
        "stage": str(entry.stage),
        "version": entry.version,
        "weights_profile": str(entry.weights_profile),
        "origin": entry.origin,
        "licence": entry.licence,
        **({} if entry.card is None else {"card": entry.card}),
        "labels": list(entry.labels),
    }
    tables = ("architecture", "preprocessing", "thresholds")
    return "\n".join(
        [
            _format_table("[[models]]", plain),
            *(_format_table(f"[models.{table}]", getattr(entry, table)) for table in tables),
            *(_format_table("[[models.files]]", _describe_file(file, folder)) for file in entry.files.values()),
        ]
    )


def _describe_file(file: WeightFile, folder: Path) -> dict[str, Any]:
    path = file.path.relative_to(folder).as_posix()
    return {"role": file.role, "path": path, "sha256": file.sha256, "size_bytes": file.size_bytes}


def _format_table(heading: str, values: Mapping[str, Any]) -> str:
    lines = [f"{json.dumps(key, ensure_ascii=False)} = {_format_value(value)}" for key, value in values.items()]
    return "\n".join([heading, *lines, ""])


def _format_value(value: object) -> str:
    """Return a value as TOML. Strings, numbers and flags are written as in JSON, which TOML reads alike."""
    match value:
        case bool() | str() | int() | float():
            return _format_plain(value)
        case list() | tuple():
            return f"[{', '.join(_format_value(item) for item in value)}]"
        case dict():
            pairs = (f"{json.dumps(key, ensure_ascii=False)} = {_format_value(item)}" for key, item in value.items())
            return f"{{ {', '.join(pairs)} }}"
    raise Defect(f"a catalogue cannot hold a value of type {type(value).__name__}")


def _format_plain(value: bool | str | float) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007f")
    except ValueError as error:
        raise Defect(f"a catalogue cannot hold the number {value}") from error
