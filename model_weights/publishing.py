"""Putting a trained or converted model into a catalogue: files first, then the entry, written in one step."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from model_weights.catalogue import CATALOGUE_FILE, CATALOGUE_NAME, ModelEntry, WeightFile, load_catalogue
from model_weights.verifying import compute_sha256
from shared.errors import Defect
from shared.settings import WeightsProfile
from shared.stages import StageName

_HEADER = (
    "# Models of this installation. Written by `training/` and by `ctclip models convert`; digests pin every file.\n"
)


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
    """Copy the files (role -> path) beside the catalogue and (re)write the entry of this profile and stage.

    Files go to `<profile>/<stage>/<role><suffix>`. Another entry of the same profile and stage is replaced.
    """
    folder = catalogue.parent / weights_profile / stage
    folder.mkdir(parents=True, exist_ok=True)
    entry = ModelEntry(
        name=name,
        stage=stage,
        version=version,
        weights_profile=weights_profile,
        architecture=architecture,
        preprocessing=preprocessing,
        labels=tuple(labels),
        thresholds=thresholds,
        files={role: _put_file(role, source, folder) for role, source in sources.items()},
        origin=origin,
        licence=licence,
        card=None if card is None else _put_card(card, folder).relative_to(catalogue.parent).as_posix(),
    )
    with _locked(catalogue.parent):
        _write_entry(entry, catalogue)
    return next(e for e in load_catalogue(catalogue) if e.stage is stage and e.weights_profile is weights_profile)


def make_catalogue_path(weights_dir: Path) -> Path:
    """Return where the catalogue of a folder of weights stands."""
    return weights_dir / CATALOGUE_NAME


def _put_file(role: str, source: Path, folder: Path) -> WeightFile:
    target = folder / f"{role}{source.suffix}"
    if target != source:
        shutil.copyfile(source, target)
    return WeightFile(role, target, compute_sha256(target), target.stat().st_size)


def _put_card(card: Path, folder: Path) -> Path:
    target = folder / "card.md"
    if target != card:
        shutil.copyfile(card, target)
    return target


def _write_entry(entry: ModelEntry, catalogue: Path) -> None:
    known = load_catalogue(catalogue) if catalogue.exists() else ()
    place = (entry.weights_profile, entry.stage)
    kept = [other for other in known if (other.weights_profile, other.stage) != place]
    entries = sorted([*kept, entry], key=lambda each: (each.weights_profile, each.stage))
    text = "\n".join([_HEADER, *(_format_entry(each, catalogue.parent) for each in entries)])
    draft = catalogue.with_suffix(".new")
    draft.write_text(text, encoding="utf-8")
    draft.replace(catalogue)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder, so that two trainings that end together both find their entry in the catalogue."""
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
            return json.dumps(value, ensure_ascii=False, allow_nan=False)
        case list() | tuple():
            return f"[{', '.join(_format_value(item) for item in value)}]"
        case dict():
            pairs = (f"{json.dumps(key, ensure_ascii=False)} = {_format_value(item)}" for key, item in value.items())
            return f"{{ {', '.join(pairs)} }}"
    raise Defect(f"a catalogue cannot hold a value of type {type(value).__name__}")
