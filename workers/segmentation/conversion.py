"""From TotalSegmentator's published weights, or a network in memory, to pinned safetensors and a catalogue entry.

The configuration beside a published folder is JSON and says what the folder does not:

    {"name": "totalsegmentator-297", "version": "2.0.0", "origin": "https://...", "licence": "Apache-2.0"}

nnU-Net's checkpoints are pickles. Only tensors and plain values are read of them: one that holds more is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from safetensors.torch import save_file
from torch import nn

from model_weights.catalogue import CATALOGUE_FILE, ModelEntry
from model_weights.publishing import publish_entry
from shared.settings import WeightsProfile
from shared.stages import StageName
from workers.conversion import PROVENANCE, read_configuration
from workers.segmentation.configuration import Architecture, Preprocessing
from workers.segmentation.known_answer import make_known_answer
from workers.segmentation.labels import TOTAL_NAMES
from workers.segmentation.network import collect_tensors, make_network
from workers.segmentation.published import PublishedFolder


@dataclass(frozen=True)
class Configuration:
    """What must be known of published weights beside their folder."""

    name: str
    version: str
    origin: str
    licence: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the JSON file. Raises Defect that names what is missing."""
        document = read_configuration(path, PROVENANCE)
        return cls(**{field: str(document[field]) for field in PROVENANCE})


@dataclass(frozen=True)
class Description:
    """What an entry says of a network beside its tensors."""

    name: str
    version: str
    origin: str
    licence: str
    architecture: Architecture
    preprocessing: Preprocessing


def convert_checkpoint(checkpoint: Path, configuration: Configuration, catalogue: Path) -> ModelEntry:
    """Write the weights of a published folder and their known answer beside the catalogue, and the entry into it.

    `checkpoint` is the folder that TotalSegmentator downloads, or the checkpoint in it. Raises Defect.
    """
    published = PublishedFolder.read(checkpoint)
    network = make_network(published.architecture, len(TOTAL_NAMES) + 1, published.tensors)
    description = Description(
        configuration.name,
        configuration.version,
        configuration.origin,
        configuration.licence,
        published.architecture,
        published.preprocessing,
    )
    return publish_network(network, description, WeightsProfile.FULL, catalogue=catalogue)


def publish_network(
    network: nn.Module,
    description: Description,
    profile: WeightsProfile,
    *,
    card: Path | None = None,
    catalogue: Path = CATALOGUE_FILE,
) -> ModelEntry:
    """Write a network in memory, its known answer and its card beside the catalogue, and the entry into it."""
    network = network.cpu().float().eval()
    with TemporaryDirectory(prefix="ctclip-") as folder:
        sources = {"weights": Path(folder, "weights.safetensors"), "known_answer": Path(folder, "answer.safetensors")}
        save_file(collect_tensors(network), sources["weights"])
        save_file(make_known_answer(network, description.architecture), sources["known_answer"])
        return publish_entry(
            name=description.name,
            stage=StageName.SEGMENTATION,
            version=description.version,
            weights_profile=profile,
            architecture=description.architecture.to_table(),
            preprocessing=description.preprocessing.to_table(),
            labels=TOTAL_NAMES,
            thresholds={},
            sources=sources,
            origin=description.origin,
            licence=description.licence,
            card=card,
            catalogue=catalogue,
        )
