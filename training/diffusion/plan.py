"""What decides the demo diffusion detector's weights, in one object: the same plan and seed give the same weights."""

from __future__ import annotations

from dataclasses import dataclass, field

from training.ct_clip_plan import PREPROCESSING
from training.phantoms import Prevalence
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
"""Findings that the map is chosen and measured on; those of a whole organ, or smaller than a pixel, cannot be pointed
at. The slice classifier is taught all that the phantom has."""

SMALL_FINDINGS = (
    "nodule",
    "lymphadenopathy",
    "coronary_calcification",
    "aortic_calcification",
    "rib_fracture",
    "vertebral_compression",
)
"""Findings of a few pixels, or of a few slices: the slice classifier is taught these first."""

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

    `training_studies` are the noise predictor's, with `FINDINGS_IN_SLICES`; `validation_studies` and
    `held_out_studies` are those that maps are chosen and measured on. The classifier has studies of its own, with every
    finding, with look-alikes that are normal, each with chance `distractor_share`, and with contrast in the vessels of
    a `contrast_share`, so that it is not taken for calcium. Of a batch a `paired_share` are pairs of slices, with a
    finding and without; the rest are slices without. First `SMALL_FINDINGS` are shown alone, on clean slices, then they
    are a `small_share` of the pairs. `place_weight` is that of the loss of where lesions lie.
    The classifier sees times below `last_time`. So does the noise predictor at first: on crops of `crop` pixels, which
    are a quarter of the work, and in the last `whole_steps` on whole slices. Then it learns at the `late_times` what
    healthy slices look like as a whole, which is what a lesion is held against.
    """

    seed: int = 1
    training_studies: int = 240
    validation_studies: int = 20
    held_out_studies: int = 40
    prevalence: Prevalence = field(default_factory=lambda: Prevalence(normal=0.3, most_findings=2))
    last_time: int = 320
    clean_share: float = 0.7
    healthy_share: float = 0.85
    crop: int = 32
    whole_steps: int = 100
    classifier_studies: int = 2000
    classifier_held_out_studies: int = 400
    classifier_prevalence: Prevalence = field(default_factory=lambda: Prevalence(normal=0.0, most_findings=2))
    classifier_held_out_prevalence: Prevalence = field(default_factory=lambda: Prevalence(normal=0.3, most_findings=1))
    distractor_share: float = 0.1
    contrast_share: float = 0.15
    paired_share: float = 0.75
    small_share: float = 0.5
    place_weight: float = 0.5
    small_fitting: FittingPlan = FittingPlan(steps=800, batch=32, peak_rate=2e-3, weight_decay=0.03)
    classifier_fitting: FittingPlan = FittingPlan(steps=2800, batch=32, peak_rate=1.5e-3, weight_decay=0.03)
    unet_fitting: FittingPlan = FittingPlan(steps=400, batch=12, peak_rate=2e-3, weight_decay=0.0)
    late_times: tuple[int, int] = (150, 650)
    late_fitting: FittingPlan = FittingPlan(steps=1000, batch=8, peak_rate=1.5e-3, weight_decay=0.0)
    first_training_seed: int = 2_100_000
    first_validation_seed: int = 2_200_000
    first_held_out_seed: int = 2_300_000
    first_classifier_seed: int = 2_600_000
    first_classifier_held_out_seed: int = 2_700_000
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

    def count_pairs(self, fitting: FittingPlan) -> int:
        """Return how many pairs of slices a batch of the classifier has; the rest are slices without findings."""
        return max(1, int(self.paired_share * fitting.batch / 2))

    @property
    def classifier_recipe(self) -> str:
        """What decides the classifier's weights beside its fittings, the seed and how slices are made."""
        made = (self.classifier_prevalence, self.classifier_seeds, self.distractor_share, self.contrast_share)
        drawn = (SMALL_FINDINGS, self.small_share, self.clean_share, self.paired_share, self.last_time)
        return f"{made} {drawn} {self.place_weight} {self.architecture.classifier}"

    @property
    def unet_recipe(self) -> str:
        """What decides the noise predictor's weights beside its fittings, the seed and how slices are made."""
        drawn = (self.last_time, self.healthy_share, self.crop, self.whole_steps, self.late_times)
        return f"{FINDINGS_IN_SLICES} {self.prevalence} {drawn} {self.training_seeds} {self.architecture.unet}"

    @property
    def classifier_seeds(self) -> range:
        """Seeds of the studies that the classifier is fitted on."""
        return range(self.first_classifier_seed, self.first_classifier_seed + self.classifier_studies)

    @property
    def classifier_held_out_seeds(self) -> range:
        """Seeds of the studies that the classifier is measured on."""
        first = self.first_classifier_held_out_seed
        return range(first, first + self.classifier_held_out_studies)
