"""What decides the demo fVLM's weights, in one object: the same plan and seed give the same weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from training.phantoms import Prevalence
from training.study_seeds import StudySeeds
from workers.ct_clip.configuration import TextShape
from workers.fvlm.configuration import Architecture, ImageShape, Preprocessing, Triple

TAUGHT: Mapping[str, tuple[str, ...]] = {
    "Emphysema": ("emphysema",),
    "Atelectasis": ("atelectasis",),
    "Lung nodule": ("nodule",),
    "Lung opacity": ("ground_glass", "consolidation"),
    "Pulmonary fibrotic sequela": ("fibrosis",),
    "Pleural effusion": ("pleural_effusion",),
    "Mosaic attenuation pattern": ("mosaic_attenuation",),
    "Consolidation": ("consolidation",),
    "Bronchiectasis": ("bronchiectasis",),
    "Cardiomegaly": ("cardiomegaly",),
    "Pericardial effusion": ("pericardial_effusion",),
    "Coronary artery wall calcification": ("coronary_calcification",),
    "Arterial wall calcification": ("aortic_calcification",),
    "Pneumothorax": ("pneumothorax",),
    "Aortic aneurysm": ("aortic_aneurysm",),
    "Lung cancer": ("mass",),
}
"""Findings of fVLM that a phantom can have, each with the phantom's findings that it stands for."""


@dataclass(frozen=True)
class CropStage:
    """Updates on crops of so many tokens along (z, y, x), `batch` at a time."""

    steps: int
    tokens: Triple
    batch: int


@dataclass(frozen=True)
class FVLMPlan(StudySeeds):
    """Seeds of training, validation and held-out studies never meet, nor those of other models.

    The encoder learns on crops, where many findings are seen in little time; then it rests, and pooling, projections
    and texts learn on whole studies, each of which is encoded once. A study is looked
    at through the same masks for `look_steps` updates.
    """

    seed: int = 1
    training_studies: int = 200
    validation_studies: int = 60
    held_out_studies: int = 60
    predicted_studies: int = 0
    crop_stages: tuple[CropStage, ...] = (CropStage(1400, (5, 5, 6), 12), CropStage(40, (9, 8, 10), 5))
    whole_steps: int = 150
    whole_studies: int = 120
    whole_batch: int = 12
    whole_masks: int = 2
    look_steps: int = 300
    peak_rate: float = 3e-3
    whole_rate: float = 1e-3
    weight_decay: float = 0.02
    least_specificity: float = 0.9
    first_training_seed: int = 1_300_000
    first_validation_seed: int = 1_400_000
    first_held_out_seed: int = 1_500_000
    training_prevalence: Prevalence = field(default_factory=lambda: Prevalence(normal=0.12, most_findings=6))
    held_out_prevalence: Prevalence = field(default_factory=lambda: Prevalence(normal=0.2, most_findings=5))
    image: ImageShape = field(
        default_factory=lambda: ImageShape(
            dim=96,
            mlp_dim=384,
            heads=4,
            depth=3,
            patch_size=(6, 5, 5),
            position_grid=(15, 10, 15),
            levels=(0, 1),
            pool_heads=16,
        )
    )
    text_width: int = 64
    text_layers: int = 2
    text_heads: int = 4
    prompt_tokens: int = 64
    dim_latent: int = 64
    preprocessing: Preprocessing = field(
        default_factory=lambda: Preprocessing(
            window=(108, 65, 90), least_shape=(90, 50, 75), margins=(2, 3, 3), spacing_mm=(4.0, 4.0, 4.0)
        )
    )

    def make_architecture(self, vocabulary_size: int) -> Architecture:
        """Return the architecture for a vocabulary."""
        text = TextShape(
            vocab_size=vocabulary_size,
            hidden_size=self.text_width,
            num_hidden_layers=self.text_layers,
            num_attention_heads=self.text_heads,
            intermediate_size=4 * self.text_width,
            max_position_embeddings=self.prompt_tokens,
        )
        return Architecture(self.image, text, self.dim_latent, self.prompt_tokens)

    @property
    def crop_steps(self) -> int:
        """Number of updates of the encoder."""
        return sum(stage.steps for stage in self.crop_stages)

    @property
    def steps(self) -> int:
        """Number of updates in all: on crops, then on whole studies."""
        return self.crop_steps + self.whole_steps
