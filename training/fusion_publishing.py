"""A trained fusion as files and as an entry of a catalogue."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from model_weights.catalogue import ModelEntry
from model_weights.publishing import publish_entry
from shared.settings import WeightsProfile
from shared.stages import StageName
from training.fusion_booster import BoosterSettings

VERSION = "1"


class FusionTexts(NamedTuple):
    """LightGBM text, its description, how its features were distributed, and the card for people (Markdown)."""

    booster: str
    description: Mapping[str, Any]
    reference: Mapping[str, Any]
    card: str


class Origin(NamedTuple):
    """What an entry says of where weights are from."""

    name: str
    profile: WeightsProfile
    command: str
    licence: str


def publish_fusion(texts: FusionTexts, settings: BoosterSettings, origin: Origin, catalogue: Path) -> ModelEntry:
    """Write the files and the entry that pins them. Raises Defect where the disk does not take them."""
    with TemporaryDirectory(prefix="ctclip-") as folder:
        booster, description, reference, card = (
            Path(folder, name) for name in ("booster.txt", "description.json", "reference.json", "card.md")
        )
        booster.write_text(texts.booster, encoding="utf-8")
        description.write_text(f"{json.dumps(texts.description, indent=1, allow_nan=False)}\n", encoding="utf-8")
        reference.write_text(json.dumps(texts.reference), encoding="utf-8")
        card.write_text(texts.card, encoding="utf-8")
        return publish_entry(
            name=origin.name,
            stage=StageName.FUSION,
            version=VERSION,
            weights_profile=origin.profile,
            architecture={"kind": "lightgbm", "trees": settings.trees, "leaves": settings.leaves},
            preprocessing={"aggregates": "native"},
            labels=(),
            thresholds={},
            sources={"booster": booster, "description": description, "reference": reference},
            origin=origin.command,
            licence=origin.licence,
            card=card,
            catalogue=catalogue,
        )
