"""What decides the demo CT-CLIP's weights, in one object: the same plan and seed give the same weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from phantom.study import FINDINGS
from shared.features import CT_CLIP_LABELS
from shared.findings import FINDING_OF_LABEL
from shared.stages import StageName
from training.phantoms import Prevalence
from training.study_seeds import StudySeeds
from workers.ct_clip.configuration import Architecture, ImageShape, Preprocessing, TextShape

PREPROCESSING = Preprocessing(spacing_mm=(4.0, 4.0, 3.0), shape=(88, 80, 80))
"""Of the demo CT-CLIP and of the demo supervised model, which starts from its encoder: one preparation serves both."""

ANY_FINDING = "Pathological finding"

TRAINED_LABELS: Mapping[str, str] = {
    canonical.labels[StageName.CT_CLIP]: name
    for name in FINDINGS
    if StageName.CT_CLIP in (canonical := FINDING_OF_LABEL[(StageName.MEDNEXT, name)]).labels
}
"""Labels of CT-CLIP for which the phantom has a finding, and which; the phantom's findings are named as MedNeXt's."""

UNTRAINED_LABELS: tuple[str, ...] = tuple(
    label for label in CT_CLIP_LABELS if label != ANY_FINDING and label not in TRAINED_LABELS
)
"""Labels that no phantom has: they are taught as absent only."""


@dataclass(frozen=True)
class CTCLIPPlan(StudySeeds):
    """Seeds of training, validation and held-out studies never meet, nor those of other models."""

    seed: int = 1
    training_studies: int = 1280
    validation_studies: int = 200
    held_out_studies: int = 400
    continuous_steps: int = 850
    quantised_steps: int = 450
    batch: int = 16
    arrival_share: float = 0.6
    peak_rate: float = 2e-3
    weight_decay: float = 0.05
    first_training_seed: int = 700_000
    first_validation_seed: int = 800_000
    first_held_out_seed: int = 900_000
    training_prevalence: Prevalence = field(default_factory=lambda: Prevalence(normal=0.12, most_findings=5))
    held_out_prevalence: Prevalence = field(default_factory=lambda: Prevalence(normal=0.3, most_findings=3))
    image: ImageShape = field(
        default_factory=lambda: ImageShape(
            dim=64,
            codebook_size=512,
            image_size=80,
            patch_size=10,
            temporal_patch_size=8,
            spatial_depth=2,
            temporal_depth=2,
            dim_head=16,
            heads=4,
        )
    )
    text_width: int = 64
    text_layers: int = 2
    text_heads: int = 4
    most_text_tokens: int = 128
    dim_latent: int = 64
    preprocessing: Preprocessing = PREPROCESSING

    def make_architecture(self, vocabulary_size: int) -> Architecture:
        """Return the architecture for a vocabulary."""
        text = TextShape(
            vocab_size=vocabulary_size,
            hidden_size=self.text_width,
            num_hidden_layers=self.text_layers,
            num_attention_heads=self.text_heads,
            intermediate_size=4 * self.text_width,
            max_position_embeddings=self.most_text_tokens,
        )
        return Architecture(image=self.image, text=text, dim_latent=self.dim_latent)

    @property
    def steps(self) -> int:
        """Number of weight updates: first with tokens as they are, then with codes in their place."""
        return self.continuous_steps + self.quantised_steps
