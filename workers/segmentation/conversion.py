"""Putting a segmentation network into the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors.torch import save_file
from torch import nn

from model_weights.catalogue import CATALOGUE_FILE, ModelEntry
from model_weights.publishing import publish_entry
from shared.settings import WeightsProfile
from shared.stages import StageName
from workers.segmentation.configuration import Architecture, Preprocessing
from workers.segmentation.known_answer import make_known_answer
from workers.segmentation.labels import TOTAL_NAMES
from workers.segmentation.network import collect_tensors


@dataclass(frozen=True)
class Description:
    """What an entry says of a network beside its tensors."""

    name: str
    version: str
    origin: str
    licence: str
    architecture: Architecture
    preprocessing: Preprocessing


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
