"""The document of a run manifest. Pure. It names no patient, no UID and no path."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import rfc8785

from model_weights.catalogue import ModelEntry
from shared.artefacts import ArtefactKind
from shared.json_values import JsonObject
from shared.settings import Settings
from shared.stages import WEIGHTED_STAGES, StageName
from shared.tables import Document
from workers.reuse.code_digest import compute_code_digest, list_versions
from workers.runtime.stage import ArtefactRecord, StageRecord

SCHEMA_VERSION = "1.0"
MEDIA_TYPE = "application/json"

_NAMING = frozenset({"series_instance_uid", "study_instance_uid", "upload_name", "callback_url"})
"""Options that would tell whose study it is, or whom to call; the manifest says only that they were given."""


@dataclass(frozen=True)
class Run:
    """What one job was run with. `fusion` is the model that weighed the answers."""

    job_id: str
    options: JsonObject
    policy: JsonObject
    records: Mapping[StageName, StageRecord]
    artefacts: Sequence[ArtefactRecord]
    fusion: ModelEntry
    probability: float
    settings: Settings


def make_manifest(run: Run) -> bytes:
    """Return the manifest as canonical JSON (RFC 8785): the same run always gives the same bytes."""
    features = {str(name): dict(record.features) for name, record in run.records.items() if record.features}
    document: Document = {
        "schema_version": SCHEMA_VERSION,
        "job_id": run.job_id,
        "software": _describe_software(),
        "settings": _describe_settings(run.settings),
        "input": _describe_input(run.artefacts),
        "series": _describe_series(run.records[StageName.INTAKE].facts),
        "options": _describe_options(run.options),
        "policy": {word: run.policy.get(word) for word in ("id", "digest")},
        "models": [*_list_models(run.records), _describe_fusion(run.fusion)],
        "probability_of_pathology": run.probability,
        "features": {"sha256": compute_features_digest(features), "values": features},
    }
    return rfc8785.dumps(document)


def compute_features_digest(features: Mapping[str, Mapping[str, float]]) -> str:
    """Return the SHA-256 over all features, by stage and name, in canonical JSON."""
    return hashlib.sha256(rfc8785.dumps(cast("Any", features))).hexdigest()


def _describe_software() -> Document:
    return {
        "code_sha256": compute_code_digest(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": dict(list_versions()),
    }


def _describe_settings(settings: Settings) -> Document:
    return {
        "weights_profile": str(settings.weights_profile),
        "precision": str(settings.precision),
        "compile_networks": settings.compile_networks,
        "threads": settings.threads,
    }


def _describe_input(artefacts: Sequence[ArtefactRecord]) -> Document:
    """Return the digests of what was read; `content_sha256` stands for voxels and geometry, however they are packed."""
    kinds = (ArtefactKind.UPLOAD, ArtefactKind.VOLUME, ArtefactKind.SOURCE_SERIES)
    return {str(artefact.kind): _describe_artefact(artefact) for artefact in artefacts if artefact.kind in kinds}


def _describe_artefact(artefact: ArtefactRecord) -> Document:
    told: Document = {"sha256": artefact.sha256, "size_bytes": artefact.size_bytes}
    content = artefact.facts.get("content_sha256")
    return told if content is None else {**told, "content_sha256": content}


def _describe_series(intake: JsonObject) -> Document:
    series = cast("Mapping[str, Any]", intake.get("series", {}))
    return {
        "choice_policy": intake.get("choice_policy"),
        **{word: value for word, value in series.items() if word != "series_instance_uid"},
    }


def _describe_options(options: JsonObject) -> Document:
    given: Document = {word: value for word, value in options.items() if word not in _NAMING}
    return {**given, "withheld": sorted(_NAMING & options.keys())}


def _list_models(records: Mapping[StageName, StageRecord]) -> list[Document]:
    return [_describe_model(records[stage]) for stage in WEIGHTED_STAGES if stage in records]


def _describe_model(record: StageRecord) -> Document:
    words = ("name", "version", "digest", "weights_profile", "precision")
    return {
        "stage": str(record.name),
        "state": str(record.state),
        "reason": record.reason,
        "reused_from": record.reused_from,
        "seconds": record.seconds,
        **{word: record.facts.get(word) for word in words},
    }


def _describe_fusion(entry: ModelEntry) -> Document:
    return {
        "stage": str(StageName.FUSION),
        "name": entry.name,
        "version": entry.version,
        "digest": entry.digest,
        "weights_profile": str(entry.weights_profile),
    }
