"""A segmentation network of a few thousand seeded weights, and the entry that it is published as."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from model_weights.catalogue import ModelEntry
from shared.settings import WeightsProfile
from workers.segmentation.configuration import Architecture, Preprocessing
from workers.segmentation.conversion import Description, publish_network
from workers.segmentation.network import make_untrained
from workers.segmentation.predictor import CLASSES
from workers.volume import Geometry, Volume

TINY = Architecture(
    n_stages=2,
    features_per_stage=(4, 8),
    kernel_sizes=((3, 3, 3), (3, 3, 3)),
    strides=((1, 1, 1), (2, 2, 2)),
    n_conv_per_stage=(1, 1),
    n_conv_per_stage_decoder=(1,),
    patch_size=(16, 24, 24),
)
PREPROCESSING = Preprocessing(clip_hu=(-1004.0, 1588.0), mean_hu=-50.38, std_hu=503.39)
GEOMETRY = Geometry((4.0, 2.1, 2.2), (-70.0, -60.0, 30.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


def make_tiny_network(seed: int = 5) -> nn.Module:
    """Return a seeded network whose answers vary from voxel to voxel."""
    torch.manual_seed(seed)
    network: nn.Module = make_untrained(TINY, CLASSES)
    return network.eval()


def publish_tiny(folder: Path, seed: int = 5) -> ModelEntry:
    """Publish a tiny network into a catalogue of `folder` (profile full)."""
    description = Description("segmentation-tiny", "1", "seeded, not trained", "Apache-2.0", TINY, PREPROCESSING)
    return publish_network(
        make_tiny_network(seed), description, WeightsProfile.FULL, catalogue=folder / "catalogue.toml"
    )


def make_volume(shape: tuple[int, int, int] = (28, 52, 50), geometry: Geometry = GEOMETRY, seed: int = 1) -> Volume:
    """Return a smooth volume with tissue, lung and air in it, and an exactly zero rim below."""
    generator = np.random.default_rng(seed)
    waves = [np.cos(np.linspace(0, generator.uniform(6, 12), size)) for size in shape]
    smooth = waves[0][:, None, None] + waves[1][:, None] * waves[2]
    hu = (500 * smooth + generator.normal(0, 30, shape) - 200).astype(np.int16)
    hu[:3] = 0
    return Volume(hu, geometry)
