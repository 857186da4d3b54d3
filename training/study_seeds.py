"""Which phantoms a training takes for what: three stretches of seeds that never meet."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StudySeeds:
    """Part of a plan: numbers of studies and first seeds; plans give their own."""

    training_studies: int
    validation_studies: int
    held_out_studies: int
    first_training_seed: int
    first_validation_seed: int
    first_held_out_seed: int

    @property
    def training_seeds(self) -> range:
        """Seeds of the studies that the weights are fitted on."""
        return range(self.first_training_seed, self.first_training_seed + self.training_studies)

    @property
    def validation_seeds(self) -> range:
        """Seeds of the studies on which thresholds, and the like, are chosen."""
        return range(self.first_validation_seed, self.first_validation_seed + self.validation_studies)

    @property
    def held_out_seeds(self) -> range:
        """Seeds of the studies that only the card sees."""
        return range(self.first_held_out_seed, self.first_held_out_seed + self.held_out_studies)
