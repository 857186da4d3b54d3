"""What is compared: the bundled chest, phantoms, and the weights that both sides run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel
import torch

from model_weights.catalogue import ModelEntry, load_catalogue
from phantom.study import PhantomSettings, make_study
from shared.settings import WeightsProfile
from shared.stages import StageName
from workers.intake.children import ChildPool
from workers.intake.local_study import make_local_order
from workers.intake.question import Question
from workers.segmentation.configuration import Architecture, Preprocessing
from workers.segmentation.conversion import Description, publish_network
from workers.segmentation.network import make_untrained
from workers.segmentation.predictor import CLASSES
from workers.volume import Geometry, Volume, VolumeFile
from workers.volume.nifti import lay_in_space

CHEST = Path(__file__).parents[2] / "deploy" / "demo" / "chest_covid_small.zip"
PHANTOM_SEEDS = (31, 32)

SEEDED = Architecture(
    n_stages=3,
    features_per_stage=(8, 16, 32),
    kernel_sizes=((3, 3, 3),) * 3,
    strides=((1, 1, 1), (2, 2, 2), (2, 2, 2)),
    n_conv_per_stage=(1, 1, 1),
    n_conv_per_stage_decoder=(1, 1),
    patch_size=(64, 64, 64),
)
SEEDED_PREPROCESSING = Preprocessing(clip_hu=(-1004.0, 1588.0), mean_hu=-50.38, std_hu=503.39)


def find_weights(kind: str, folder: Path) -> ModelEntry:
    """Return the shipped demo weights, or a network of seeded weights that are not trained (`seeded`)."""
    if kind == "demo":
        return next(entry for entry in load_catalogue() if entry.stage is StageName.SEGMENTATION)
    torch.manual_seed(0)
    description = Description("seeded", "1", "seeded, not trained", "Apache-2.0", SEEDED, SEEDED_PREPROCESSING)
    network = make_untrained(SEEDED, CLASSES)
    return publish_network(network, description, WeightsProfile.FULL, catalogue=folder / "catalogue.toml")


def read_studies(only: str) -> Iterator[tuple[str, Volume]]:
    """Yield the bundled real chest and two phantoms, by name, where the name holds a word."""
    makers: dict[str, Callable[[], Volume]] = {
        "real chest": read_chest,
        **{f"phantom {seed}": partial(make_phantom, seed) for seed in PHANTOM_SEEDS},
    }
    yield from ((name, make()) for name, make in makers.items() if only in name)


def make_phantom(seed: int) -> Volume:
    """Return a healthy phantom at the coarse setting."""
    study = make_study(seed, (), PhantomSettings.coarse())
    return Volume(study.hu, Geometry(study.spacing_zyx_mm, study.origin_lps_mm, (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)))


def read_chest() -> Volume:
    """Return the bundled chest, read as intake reads it."""
    children = ChildPool()
    try:
        with TemporaryDirectory() as folder:
            order = make_local_order(CHEST, Path(folder, "volume.b2nd"), Question(), keeps_volume=True)
            children.read(order, lambda _progress: None)
            return VolumeFile(order.volume_path).read()
    finally:
        children.close()


def write_nifti(volume: Volume, path: Path) -> None:
    """Write a volume as the command line takes it."""
    image = nibabel.Nifti1Image(volume.hu.transpose(2, 1, 0), None)  # type: ignore[no-untyped-call]  # nibabel
    lay_in_space(image, volume.geometry.compute_affine_lps())
    nibabel.save(image, path)
