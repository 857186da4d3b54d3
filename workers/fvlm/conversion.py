"""From a public fVLM checkpoint to pinned safetensors and a catalogue entry.

The configuration is JSON:

    {"name": "fvlm-public", "version": "1", "origin": "https://...", "licence": "CC-BY-NC-SA-4.0",
     "thresholds": {"Cardiomegaly": 0.5}}

`items` names a file of items (`workers.fvlm.items`) beside the JSON file; without it they are the product's 18.
`architecture` and `preprocessing` may be given; the published ones are the default, in the public geometry.
`vocabulary` names a file of WordPiece tokens, one a line, beside the JSON file, for a model that was trained with
another than CXR-BERT's. Neither the MAE nor the CXR-BERT that training started from is needed: the checkpoint has all
weights. What only training uses (optimizer, language head, queues) is left behind, and the text side goes to a file of
its own, because a worker needs it only for other sentences.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from model_weights.catalogue import ModelEntry
from model_weights.publishing import publish_entry
from shared.settings import WeightsProfile
from shared.stages import StageName
from workers.checkpoint import open_checkpoint
from workers.conversion import PROVENANCE, locate_beside, read_configuration, read_thresholds
from workers.ct_clip.two_sides import write_sides
from workers.ct_clip.vocabulary import VOCABULARY_FILE
from workers.fvlm.configuration import Architecture, Preprocessing
from workers.fvlm.items import ITEMS_FILE, Item, list_prompts, make_document, read_items
from workers.fvlm.known_answer import make_known_answer
from workers.fvlm.model import FVLM
from workers.fvlm.weights import make_model, read_checkpoint


@dataclass(frozen=True)
class Configuration:
    """What must be known of a checkpoint beside its tensors."""

    name: str
    version: str
    origin: str
    licence: str
    architecture: Architecture
    preprocessing: Preprocessing
    thresholds: Mapping[str, float]
    vocabulary: Path = VOCABULARY_FILE
    items: Path = ITEMS_FILE

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the JSON file. Raises Defect that names what is missing."""
        document = read_configuration(path, PROVENANCE)
        return cls(
            **{field: str(document[field]) for field in PROVENANCE},
            architecture=Architecture.from_table(document.get("architecture", {})),
            preprocessing=Preprocessing.from_table(document.get("preprocessing", {})),
            thresholds=read_thresholds(document),
            vocabulary=locate_beside(path, document.get("vocabulary"), VOCABULARY_FILE),
            items=locate_beside(path, document.get("items"), ITEMS_FILE),
        )


def convert_checkpoint(checkpoint: Path, configuration: Configuration, catalogue: Path) -> ModelEntry:
    """Write both sides, the vocabulary and the known answer beside the catalogue, and the entry into it."""
    tensors = read_checkpoint(configuration.architecture, open_checkpoint(checkpoint))
    return publish_model(make_model(configuration.architecture, tensors), configuration, WeightsProfile.FULL, catalogue)


def publish_model(
    model: FVLM, configuration: Configuration, profile: WeightsProfile, catalogue: Path, card: Path | None = None
) -> ModelEntry:
    """Write a model in memory, its items, text latents, known answer and card beside the catalogue, and the entry."""
    items = read_items(configuration.items)
    configuration.preprocessing.require_fit(configuration.architecture.image)
    with TemporaryDirectory(prefix="ctclip-") as folder:
        return publish_entry(
            name=configuration.name,
            stage=StageName.FVLM,
            version=configuration.version,
            weights_profile=profile,
            architecture=configuration.architecture.to_table(),
            preprocessing=configuration.preprocessing.to_table(),
            labels=[item.finding for item in items],
            thresholds=configuration.thresholds,
            sources=_write_files(model, items, configuration.vocabulary, Path(folder)),
            origin=configuration.origin,
            licence=configuration.licence,
            card=card,
            catalogue=catalogue,
        )


def _write_files(model: FVLM, items: Sequence[Item], vocabulary: Path, folder: Path) -> dict[str, Path]:
    paths = write_sides(
        model.state_dict(),
        model.text,
        make_known_answer(model.image),
        prompts=list_prompts(items),
        vocabulary=vocabulary,
        folder=folder,
    )
    asked = folder / "items.json"
    asked.write_text(json.dumps(make_document(items), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return {**paths, "items": asked}
