"""What a model's stage tells of its run."""

from __future__ import annotations

from model_weights.catalogue import ModelEntry
from shared.json_values import JsonObject


def describe_run(entry: ModelEntry, timings: JsonObject) -> JsonObject:
    """Return the facts that fusion and callers read of a model's run."""
    return {
        "name": entry.name,
        "version": entry.version,
        "digest": entry.digest,
        "weights_profile": str(entry.weights_profile),
        "thresholds": dict(entry.thresholds),
        "timings": timings,
    }
