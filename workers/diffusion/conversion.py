"""From the public checkpoints of a diffusion detector to pinned safetensors and a catalogue entry.

The checkpoint is the slice classifier's. The configuration is JSON and names the noise predictor's, which may be left
out where nothing is to be reconstructed; its path is relative to the configuration:

    {"name": "diffusion-full", "version": "1", "origin": "https://...", "licence": "...", "unet": "brats_unet.pt"}

`architecture` and `preprocessing` may be given; the full-size ones are the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from safetensors.torch import save_file
from torch import nn

from model_weights.catalogue import ModelEntry
from model_weights.publishing import publish_entry
from shared.settings import WeightsProfile
from shared.stages import StageName
from workers.checkpoint import open_checkpoint
from workers.conversion import PROVENANCE, read_configuration
from workers.diffusion.classifier import SliceClassifier
from workers.diffusion.configuration import Architecture, Preprocessing
from workers.diffusion.features import LABELS
from workers.diffusion.known_answer import make_known_answer
from workers.diffusion.loading import make_classifier, make_unet
from workers.diffusion.published import read_classifier, read_unet
from workers.diffusion.unet import UNet
from workers.diffusion.weights import unwrap_checkpoint


@dataclass(frozen=True)
class Configuration:
    """What must be known of the checkpoints beside their tensors. `unet` is where the noise predictor's lies."""

    name: str
    version: str
    origin: str
    licence: str
    unet: Path | None
    architecture: Architecture
    preprocessing: Preprocessing
    thresholds: Mapping[str, float]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the JSON file. Raises Defect that names what is missing."""
        document = read_configuration(path, PROVENANCE)
        unet = document.get("unet")
        return cls(
            **{field: str(document[field]) for field in PROVENANCE},
            unet=None if unet is None else path.parent / str(unet),
            architecture=Architecture.from_table(document.get("architecture", {})),
            preprocessing=Preprocessing.from_table(document.get("preprocessing", {})),
            thresholds=document.get("thresholds", {}),
        )


def convert_checkpoint(checkpoint: Path, configuration: Configuration, catalogue: Path) -> ModelEntry:
    """Write both networks and their known answers beside the catalogue, and the entry into it."""
    shapes = configuration.architecture
    state = unwrap_checkpoint(open_checkpoint(checkpoint))
    classifier = make_classifier(shapes.classifier, read_classifier(shapes.classifier, state))
    unet = None
    if configuration.unet is not None:
        state = unwrap_checkpoint(open_checkpoint(configuration.unet))
        unet = make_unet(shapes.unet, read_unet(shapes.unet, state))
    return publish_model(unet, classifier, configuration, WeightsProfile.FULL, catalogue)


def publish_model(
    unet: UNet | None,
    classifier: SliceClassifier,
    configuration: Configuration,
    profile: WeightsProfile,
    catalogue: Path,
    *,
    card: Path | None = None,
) -> ModelEntry:
    """Write networks in memory, their known answers and card beside the catalogue, and the entry into it."""
    configuration.preprocessing.require_fit(configuration.architecture)
    with TemporaryDirectory(prefix="ctclip-") as folder:
        return publish_entry(
            name=configuration.name,
            stage=StageName.DIFFUSION,
            version=configuration.version,
            weights_profile=profile,
            architecture=configuration.architecture.to_table(),
            preprocessing=configuration.preprocessing.to_table(),
            labels=LABELS,
            thresholds=configuration.thresholds,
            sources=_write_files(unet, classifier, Path(folder)),
            origin=configuration.origin,
            licence=configuration.licence,
            card=card,
            catalogue=catalogue,
        )


def _write_files(unet: UNet | None, classifier: SliceClassifier, folder: Path) -> dict[str, Path]:
    networks: dict[str, nn.Module] = {"weights": classifier}
    if unet is not None:
        networks["unet_weights"] = unet
    paths = {role: folder / f"{role}.safetensors" for role in (*networks, "known_answer")}
    for role, network in networks.items():
        tensors = {name: tensor.detach().float().contiguous() for name, tensor in network.state_dict().items()}
        save_file(tensors, paths[role])
    save_file(make_known_answer(unet, classifier), paths["known_answer"])
    return paths
