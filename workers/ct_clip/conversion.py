"""From a public CT-CLIP checkpoint (zero-shot or VocabFine) to pinned safetensors and a catalogue entry.

The configuration is JSON:

    {"name": "ct-clip-v2", "version": "2", "origin": "https://...", "licence": "CC-BY-NC-SA-4.0",
     "labels": ["Pulmonary nodule", ...], "thresholds": {"Pulmonary nodule": 0.55}}

`labels` are the findings to ask for, and `label_texts` names the file of their statements (`workers.ct_clip.prompts`)
beside the JSON file; without them it is the product's 55 in the words that CT-CLIP was trained on. `architecture` and
`preprocessing` may be given; the published ones are the default. `vocabulary` names a file of WordPiece tokens, one a
line, beside the JSON file, for a model that was trained with another than CXR-BERT's. Tensors that only training uses
are left behind (0.6 GB), and the text side goes to a file of its own, because a worker needs it only for other texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from safetensors.torch import save_file
from torch import Tensor

from model_weights.catalogue import ModelEntry
from model_weights.publishing import publish_entry
from shared.settings import WeightsProfile
from shared.stages import StageName
from workers.checkpoint import open_checkpoint
from workers.conversion import PROVENANCE, locate_beside, read_configuration, read_labels, read_thresholds
from workers.ct_clip.configuration import Architecture, Preprocessing
from workers.ct_clip.known_answer import make_known_answer
from workers.ct_clip.model import CTCLIP
from workers.ct_clip.prompts import LABEL_TEXTS_FILE, LabelTexts, list_prompts, read_label_texts
from workers.ct_clip.relevance import ROLE as REFERENCE_ROLE
from workers.ct_clip.two_sides import write_sides
from workers.ct_clip.vocabulary import VOCABULARY_FILE
from workers.ct_clip.weights import make_model, read_ct_clip, unwrap_checkpoint


@dataclass(frozen=True)
class Configuration:
    """What must be known of a checkpoint beside its tensors. `labels` is None where they are not told."""

    name: str
    version: str
    origin: str
    licence: str
    labels: tuple[str, ...] | None
    architecture: Architecture
    preprocessing: Preprocessing
    thresholds: Mapping[str, float]
    vocabulary: Path = VOCABULARY_FILE
    label_texts: Path = LABEL_TEXTS_FILE

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the JSON file. Raises Defect that names what is missing."""
        document = read_configuration(path, PROVENANCE)
        return cls(
            **{field: str(document[field]) for field in PROVENANCE},
            labels=read_labels(document),
            architecture=Architecture.from_table(document.get("architecture", {})),
            preprocessing=Preprocessing.from_table(document.get("preprocessing", {})),
            thresholds=read_thresholds(document),
            vocabulary=locate_beside(path, document.get("vocabulary"), VOCABULARY_FILE),
            label_texts=locate_beside(path, document.get("label_texts"), LABEL_TEXTS_FILE),
        )


def convert_checkpoint(checkpoint: Path, configuration: Configuration, catalogue: Path) -> ModelEntry:
    """Write both sides, the vocabulary and the known answer beside the catalogue, and the entry into it."""
    tensors = read_ct_clip(configuration.architecture, unwrap_checkpoint(open_checkpoint(checkpoint)))
    model = make_model(configuration.architecture, tensors)
    return publish_model(model, configuration, WeightsProfile.FULL, catalogue)


def publish_model(
    model: CTCLIP,
    configuration: Configuration,
    profile: WeightsProfile,
    catalogue: Path,
    card: Path | None = None,
    *,
    reference: Mapping[str, Tensor] | None = None,
) -> ModelEntry:
    """Write a model in memory, its vocabulary, known answer and card beside the catalogue, and the entry into it.

    `reference` are the healthy tokens for relevance (`workers.ct_clip.relevance.make_reference`), where they are known.
    """
    texts = read_label_texts(configuration.label_texts)
    labels = configuration.labels or tuple(texts.own)
    configuration.preprocessing.require_fit(configuration.architecture.image)
    with TemporaryDirectory(prefix="ctclip-") as folder:
        return publish_entry(
            name=configuration.name,
            stage=StageName.CT_CLIP,
            version=configuration.version,
            weights_profile=profile,
            architecture=configuration.architecture.to_table(),
            preprocessing=configuration.preprocessing.to_table(),
            labels=labels,
            thresholds=configuration.thresholds,
            sources={
                **_write_files(model, texts.choose(labels), configuration.vocabulary, Path(folder)),
                **_write_reference(reference, Path(folder)),
            },
            origin=configuration.origin,
            licence=configuration.licence,
            card=card,
            catalogue=catalogue,
        )


def _write_files(model: CTCLIP, texts: LabelTexts, vocabulary: Path, folder: Path) -> dict[str, Path]:
    paths = write_sides(
        model.state_dict(),
        model.text,
        make_known_answer(model.image),
        prompts=list_prompts([*texts.own.values()]),
        vocabulary=vocabulary,
        folder=folder,
    )
    asked = folder / "label_texts.json"
    asked.write_text(json.dumps(texts.to_document(), indent=2, ensure_ascii=False), encoding="utf-8")
    return {**paths, "label_texts": asked}


def _write_reference(reference: Mapping[str, Tensor] | None, folder: Path) -> dict[str, Path]:
    if reference is None:
        return {}
    path = folder / f"{REFERENCE_ROLE}.safetensors"
    save_file(dict(reference), path)
    return {REFERENCE_ROLE: path}
