"""The catalogue: every installed model, how it is built, what it is fed, and the digest of each of its files.

Light on purpose (no torch): control registers versions and tests loop over entries without loading a model.
Profile `demo` is described by `catalogue.toml` beside this module, profile `full` by the same format in the
folder that `CTCLIP_WEIGHTS_DIR` names (`ctclip models convert` writes it), profile `none` by nothing.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from model_weights.parsing import EntryReader
from shared.errors import Defect
from shared.settings import WeightsProfile
from shared.stages import StageName

CATALOGUE_NAME = "catalogue.toml"
CATALOGUE_FILE = Path(__file__).parent / CATALOGUE_NAME


class WeightsLocation(Protocol):
    """Where weights are looked for; `shared.settings.Settings` is one."""

    @property
    def weights_profile(self) -> WeightsProfile:
        """Which weights to run."""

    @property
    def weights_dir(self) -> Path | None:
        """Folder of imported weights (profile `full`)."""


@dataclass(frozen=True)
class WeightFile:
    """One file of a model. `role` says what it is for (`weights`, `known_answer`, `booster`, `description`)."""

    role: str
    path: Path
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class ModelEntry:
    """One model as the catalogue describes it. `thresholds` are the model's own evidence thresholds, by label."""

    name: str
    stage: StageName
    version: str
    weights_profile: WeightsProfile
    architecture: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    labels: tuple[str, ...]
    thresholds: Mapping[str, float]
    files: Mapping[str, WeightFile]
    origin: str
    licence: str
    card: str | None

    @property
    def digest(self) -> str:
        """SHA-256 over everything that changes an answer; where the files lie does not."""
        answering = {
            "stage": self.stage,
            "architecture": self.architecture,
            "preprocessing": self.preprocessing,
            "labels": self.labels,
            "thresholds": self.thresholds,
            "files": {role: file.sha256 for role, file in self.files.items()},
        }
        return hashlib.sha256(json.dumps(answering, sort_keys=True).encode()).hexdigest()

    def get_file(self, role: str) -> WeightFile:
        """Return the file of a role. Raises Defect when the entry has none."""
        if role not in self.files:
            raise Defect(
                f"model {self.name}: the catalogue names no file with the role {role!r}; it has {[*self.files]}"
            )
        return self.files[role]


def load_catalogue(path: Path = CATALOGUE_FILE) -> tuple[ModelEntry, ...]:
    """Read and validate a catalogue. Raises Defect that names the entry and the field."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Defect("the catalogue of model weights cannot be read; install the package again") from error
    except tomllib.TOMLDecodeError as error:
        raise Defect(f"the catalogue of model weights is not TOML: {error}") from error
    tables = document.get("models", [])
    entries = tuple(_parse_entry(EntryReader(table, number), path.parent) for number, table in enumerate(tables, 1))
    _refuse_duplicates(entries)
    return entries


def list_installed(settings: WeightsLocation) -> tuple[ModelEntry, ...]:
    """Return the models of the settings' profile. Raises Defect when a file that an entry names is not there."""
    profile = settings.weights_profile
    entries = tuple(entry for entry in _load_profile(settings) if entry.weights_profile is profile)
    for entry in entries:
        for file in entry.files.values():
            _require_on_disk(entry, file)
    return entries


def find_installed(settings: WeightsLocation, stage: StageName) -> ModelEntry | None:
    """Return the model that runs a stage, or None when its weights are not installed."""
    return next((entry for entry in list_installed(settings) if entry.stage is stage), None)


def _load_profile(settings: WeightsLocation) -> tuple[ModelEntry, ...]:
    if settings.weights_profile is WeightsProfile.NONE:
        return ()
    if settings.weights_profile is WeightsProfile.DEMO:
        return load_catalogue()
    if settings.weights_dir is None:
        raise Defect(
            "the profile is full, but nothing says where the weights are; set CTCLIP_WEIGHTS_DIR (or --weights-dir)"
        )
    path = settings.weights_dir / CATALOGUE_NAME
    return load_catalogue(path) if path.exists() else ()


def _parse_entry(reader: EntryReader, folder: Path) -> ModelEntry:
    files = [_parse_file(table, folder) for table in reader.read_tables("files")]
    labels = reader.read_strings("labels")
    return ModelEntry(
        name=reader.name,
        stage=reader.read_member("stage", StageName),
        version=reader.read_string("version"),
        weights_profile=reader.read_member("weights_profile", WeightsProfile),
        architecture=reader.read_table("architecture"),
        preprocessing=reader.read_table("preprocessing"),
        labels=labels,
        thresholds=reader.read_fractions("thresholds", names=labels),
        files={file.role: file for file in files},
        origin=reader.read_string("origin"),
        licence=reader.read_string("licence"),
        card=reader.read_optional_string("card"),
    )


def _parse_file(reader: EntryReader, folder: Path) -> WeightFile:
    return WeightFile(
        role=reader.read_string("role"),
        path=folder / reader.read_relative_path("path"),
        sha256=reader.read_sha256("sha256"),
        size_bytes=reader.read_count("size_bytes"),
    )


def _refuse_duplicates(entries: tuple[ModelEntry, ...]) -> None:
    counts = Counter((entry.weights_profile, entry.stage) for entry in entries)
    for (profile, stage), count in counts.items():
        if count > 1:
            raise Defect(f"the catalogue has {count} models for the stage {stage} of profile {profile}; keep one")


def _require_on_disk(entry: ModelEntry, file: WeightFile) -> None:
    if not file.path.is_file():
        raise Defect(f"model {entry.name}: the file of role {file.role!r} is not there; install the weights again")
    found = file.path.stat().st_size
    if found != file.size_bytes:
        raise Defect(
            f"model {entry.name}: the file of role {file.role!r} has {found} bytes, the catalogue says"
            f" {file.size_bytes}; install the weights again"
        )
