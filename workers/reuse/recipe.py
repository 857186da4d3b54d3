"""What the answer of a model's stage is made from, as one digest. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from shared.json_values import JsonObject
from shared.settings import Settings
from shared.stages import WEIGHTED_STAGES, StageName
from workers.reuse.code_digest import compute_code_digest

_DECIDING = frozenset(
    {
        *("id", "digest", "name", "version", "threshold", "minimum_models"),
        *("allowed_subsets", "calibration", "finding_thresholds"),
    }
)
"""Words of a policy that the fusion alone reads. Every other word may change what a model's stage says."""

_NAMING_IMAGES = frozenset({StageName.SEGMENTATION, StageName.DIFFUSION})
"""Stages whose artefacts name the images that the volume was made of: equal pixels of others are another study."""

_MASKED = frozenset({StageName.FVLM})


@dataclass(frozen=True)
class Kitchen:
    """What all stages of this process answer with: the code, and the settings of the arithmetic."""

    code_sha256: str
    precision: str
    is_compiled: bool

    @classmethod
    def of_settings(cls, settings: Settings) -> Kitchen:
        """Return that of this process."""
        return cls(compute_code_digest(), settings.precision, settings.compile_networks)


@dataclass(frozen=True)
class Study:
    """What the stages of one job are given. `volume_sha256` covers voxels and geometry; None where it is not known."""

    volume_sha256: str | None
    masks_sha256: str | None
    source_sha256: str | None
    policy: JsonObject


def compute_recipe(stage: StageName, model_digest: str | None, study: Study, kitchen: Kitchen) -> str | None:
    """Return the SHA-256 that two runs of a stage share when they must answer alike; None where that is not known."""
    if stage not in WEIGHTED_STAGES or model_digest is None or study.volume_sha256 is None:
        return None
    if stage in _MASKED and study.masks_sha256 is None:
        return None
    ingredients = {
        "stage": stage,
        "model": model_digest,
        "volume": study.volume_sha256,
        "masks": study.masks_sha256 if stage in _MASKED else None,
        "source": study.source_sha256 if stage in _NAMING_IMAGES else None,
        "policy": {word: value for word, value in study.policy.items() if word not in _DECIDING},
        "code": kitchen.code_sha256,
        "precision": kitchen.precision,
        "compiled": kitchen.is_compiled,
    }
    return hashlib.sha256(json.dumps(ingredients, sort_keys=True).encode()).hexdigest()
