"""What decides the demo diffusion detector's weights, in one object: the same plan and seed give the same weights."""

from __future__ import annotations

from dataclasses import dataclass, field

from training.ct_clip_plan import PREPROCESSING
from training.study_seeds import StudySeeds
from workers.diffusion.configuration import Architecture, ClassifierShape, Preprocessing, ProcessShape, UNetShape

FINDINGS_IN_SLICES = (
    "nodule",
    "mass",
    "consolidation",
    "ground_glass",
    "fibrosis",
    "atelectasis",
    "pleural_effusion",
    "pneumothorax",
    "pericardial_effusion",
    "hiatal_hernia",
)
"""Findings of the phantom that lie somewhere; those of a whole organ, or smaller than a pixel, cannot be pointed at."""

_SIZE = 64


@dataclass(frozen=True)
class FittingPlan:
    """Updates of one network. The rate rises to its peak and falls to nothing."""

    steps: int
    batch: int
    peak_rate: float
    weight_decay: float = 0.01
    checkpoint_steps: int = 25


@dataclass(frozen=True)
class DiffusionPlan(StudySeeds):
    """Seeds of training, validation and held-out studies never meet, nor those of other models.

    The classifier sees times below `last_time`. So does the noise predictor at first: on crops of `crop` pixels, which
    are a quarter of the work, and in the last `whole_steps` on whole slices. Then it learns at the `late_times` what
    healthy slices look like as a whole, which is what a lesion is held against.
    """

    seed: int = 1
    training_studies: int = 240
    validation_studies: int = 20
    held_out_studies: int = 40
    normal_share: float = 0.3
    most_findings: int = 2
    last_time: int = 320
    clean_share: float = 0.5
    healthy_share: float = 0.85
    crop: int = 32
    whole_steps: int = 100
    classifier_fitting: FittingPlan = FittingPlan(steps=1200, batch=16, peak_rate=2e-3)
    unet_fitting: FittingPlan = FittingPlan(steps=400, batch=12, peak_rate=2e-3, weight_decay=0.0)
    late_times: tuple[int, int] = (150, 650)
    late_fitting: FittingPlan = FittingPlan(steps=1000, batch=8, peak_rate=1.5e-3, weight_decay=0.0)
    first_training_seed: int = 2_100_000
    first_validation_seed: int = 2_200_000
    first_held_out_seed: int = 2_300_000
    architecture: Architecture = field(
        default_factory=lambda: Architecture(
            unet=UNetShape(image_size=_SIZE, model_channels=32, channel_mult=(1, 1, 2), num_res_blocks=1),
            classifier=ClassifierShape(
                image_size=_SIZE,
                channel_mult=(1, 1, 2, 2),
                num_res_blocks=1,
                attention_resolutions=(8,),
                num_head_channels=32,
            ),
            process=ProcessShape(),
        )
    )
    preprocessing: Preprocessing = field(default_factory=lambda: Preprocessing(volume=PREPROCESSING, slice_size=_SIZE))
