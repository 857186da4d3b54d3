"""From a classifier's checkpoint (the product trainer's, or the public LiPro) to safetensors and a catalogue entry.

The configuration is CT-CLIP's (`workers.ct_clip.conversion`). Labels come from the checkpoint where it carries them
(`target_pathologies`), else from the configuration, else they are those that the head was published with.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors.torch import save_file
from torch import Tensor

from model_weights.catalogue import ModelEntry
from model_weights.publishing import publish_entry
from shared.errors import Defect
from shared.settings import WeightsProfile
from shared.stages import StageName
from workers.checkpoint import open_checkpoint
from workers.ct_clip.conversion import Configuration
from workers.ct_clip.known_answer import make_known_answer
from workers.ct_clip.relevance import ROLE as REFERENCE_ROLE
from workers.ct_clip.two_sides import save_tensors
from workers.ct_clip.weights import unwrap_checkpoint
from workers.supervised.configuration import Architecture, HeadKind
from workers.supervised.labels import DEFAULT_LABELS
from workers.supervised.loading import make_classifier
from workers.supervised.model import LatentClassifier
from workers.supervised.weights import find_head, read_classifier

__all__ = ["Configuration", "convert_checkpoint", "find_labels", "publish_classifier"]

_CARRIED = "target_pathologies"


def convert_checkpoint(checkpoint: Path, configuration: Configuration, catalogue: Path) -> ModelEntry:
    """Write the weights and their known answer beside the catalogue, and the entry into it."""
    opened = open_checkpoint(checkpoint)
    state = unwrap_checkpoint(opened)
    head = find_head(state)
    labels = find_labels(opened, configuration.labels, head)
    architecture = Architecture(len(labels), head, configuration.architecture)
    classifier = make_classifier(architecture, read_classifier(architecture, state))
    return publish_classifier(classifier, labels, configuration, profile=WeightsProfile.FULL, catalogue=catalogue)


def find_labels(checkpoint: object, told: tuple[str, ...] | None, head: HeadKind) -> tuple[str, ...]:
    """Return what the outputs are called. Raises Defect when checkpoint and configuration contradict each other."""
    carried = checkpoint.get(_CARRIED) if isinstance(checkpoint, Mapping) else None
    if carried is None:
        return told or DEFAULT_LABELS[head]
    if not isinstance(carried, list | tuple) or len({str(label) for label in carried}) != len(carried):
        raise Defect(f"`{_CARRIED}` of the checkpoint is no list of different labels")
    labels = tuple(str(label) for label in carried)
    if told is not None and told != labels:
        raise Defect(f"the configuration says {list(told)}, the checkpoint was trained on {list(labels)}")
    return labels


def publish_classifier(
    classifier: LatentClassifier,
    labels: tuple[str, ...],
    configuration: Configuration,
    *,
    profile: WeightsProfile,
    catalogue: Path,
    card: Path | None = None,
    reference: Mapping[str, Tensor] | None = None,
) -> ModelEntry:
    """Write a classifier in memory, its known answer and card beside the catalogue, and the entry into it.

    `reference` are the healthy tokens for relevance (`workers.ct_clip.relevance.make_reference`), where they are known.
    """
    configuration.preprocessing.require_fit(configuration.architecture.image)
    with TemporaryDirectory(prefix="ctclip-") as folder:
        paths = {role: Path(folder, f"{role}.safetensors") for role in ("weights", "known_answer")}
        save_tensors(classifier.state_dict(), paths["weights"])
        save_file(make_known_answer(classifier.image), paths["known_answer"])
        if reference is not None:
            paths[REFERENCE_ROLE] = Path(folder, f"{REFERENCE_ROLE}.safetensors")
            save_file(dict(reference), paths[REFERENCE_ROLE])
        return publish_entry(
            name=configuration.name,
            stage=StageName.SUPERVISED,
            version=configuration.version,
            weights_profile=profile,
            architecture=classifier.architecture.to_table(),
            preprocessing=configuration.preprocessing.to_table(),
            labels=labels,
            thresholds=configuration.thresholds,
            sources=paths,
            origin=configuration.origin,
            licence=configuration.licence,
            card=card,
            catalogue=catalogue,
        )
