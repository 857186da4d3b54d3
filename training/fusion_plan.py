"""What decides the demo fusion's weights, in one object."""

from __future__ import annotations

from dataclasses import dataclass, field

from training.fusion_booster import BoosterSettings


@dataclass(frozen=True)
class FusionPlan:
    """Everything that decides the weights. Seeds of training and held-out studies never meet.

    Only the first `masked_studies` of the training are segmented, which takes most of the time; in the others the
    models that read masks are missing. Each training study is seen `copies` times: once with every answer, else
    without each model with chance `dropout`. `least_own_auc`: a label moves the score, and is evidence, only if it
    recognises its own finding among others at least so well. `least_specificity`: of a label as evidence, over studies
    with other findings. `least_told`: studies with a finding, and without, that a label is judged by; phantoms tell all
    of theirs. `folds`: parts of the training studies, each scored by a booster that never saw it, that
    the calibration is fitted to.
    """

    training_studies: int = 700
    masked_studies: int = 350
    held_out_studies: int = 400
    shifted_studies: int = 200
    first_training_seed: int = 500_000
    first_held_out_seed: int = 600_000
    first_shifted_seed: int = 650_000
    copies: int = 4
    dropout: float = 0.4
    least_own_auc: float = 0.8
    least_specificity: float = 0.98
    least_told: int = 1
    folds: int = 5
    booster: BoosterSettings = field(default_factory=BoosterSettings)

    @property
    def training_seeds(self) -> range:
        """Seeds of the studies that the booster is fitted on."""
        return range(self.first_training_seed, self.first_training_seed + self.training_studies)

    @property
    def masked_seeds(self) -> range:
        """Seeds of the training studies that are segmented."""
        return self.training_seeds[: self.masked_studies]

    @property
    def unmasked_seeds(self) -> range:
        """Seeds of the other training studies."""
        return self.training_seeds[self.masked_studies :]

    @property
    def held_out_seeds(self) -> range:
        """Seeds of the studies that only the report sees."""
        return range(self.first_held_out_seed, self.first_held_out_seed + self.held_out_studies)

    @property
    def shifted_seeds(self) -> range:
        """Seeds of held-out studies from other scanners, of other patients."""
        return range(self.first_shifted_seed, self.first_shifted_seed + self.shifted_studies)
