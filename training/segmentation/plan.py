"""What decides the weights of the demo segmentation, in one object: the same plan and seed give the same weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from phantom.study import PhantomSettings
from training.phantoms import Prevalence
from training.segmentation.augmentation import Ranges
from workers.segmentation.configuration import Architecture, Preprocessing, Triple


def _make_architecture() -> Architecture:
    """Return the network: the finest stage looks at single voxels, the coarser ones around them.

    Kernels of 3 x 3 x 3 at full resolution would take most of the time on a CPU.
    """
    stages = 5
    return Architecture(
        n_stages=stages,
        features_per_stage=(16, 16, 32, 64, 64),
        kernel_sizes=((1, 1, 1), *((3, 3, 3),) * (stages - 1)),
        strides=((1, 1, 1), *((2, 2, 2),) * (stages - 1)),
        n_conv_per_stage=(1, 1, 1, 2, 2),
        n_conv_per_stage_decoder=(1, 1, 1, 1),
        patch_size=(112, 144, 144),
    )


class Phase(NamedTuple):
    """Some steps on crops of one size; `skipped_stages` of the decoder, finest first, are left as they are.

    What lies where is learnt at 6 mm in half the time; the borders come after, and then windows about as large as those
    of the stage, since instance norm answers by the statistics of the whole window. `is_padded` crops hold what the
    stage puts beyond a study, where others repeat its edge.
    """

    steps: int
    size_zyx: Triple
    batch: int
    skipped_stages: int = 0
    is_padded: bool = False


@dataclass(frozen=True)
class Cycle:
    """One rise and fall of the learning rate; the next cycle goes on from its weights.

    `entropy_power`: cross-entropy counts a drawn voxel by this power of how many it stands for. At a half small organs
    weigh more than they are large, so that they are found; nearer to one the borders of the large ones come right: with
    less, organs reach a voxel into what is larger than they.
    `drawn_voxels`: of a crop, in the loss. Few of them lie at a border.
    `studies`: the first so many of the plan's. After four cycles on 120, lungs had a Dice of 0.971 in six of those and
    of 0.965 and 0.960 in six others each, least where heart or pleura were not normal.
    `strength`: of the changes that `Ranges` makes to a study. A small network spends much on the strong ones; the last
    cycles come nearer to studies as they are.
    """

    phases: tuple[Phase, ...]
    peak_rate: float
    warm_up_share: float
    entropy_power: float
    drawn_voxels: int = 8_000
    studies: int = 120
    strength: float = 1.0

    @property
    def steps(self) -> int:
        """Number of weight updates."""
        return sum(phase.steps for phase in self.phases)

    def find_phase(self, step: int) -> Phase:
        """Return the phase that a step, counted from 0, belongs to."""
        ends = accumulate(phase.steps for phase in self.phases)
        return next(phase for phase, end in zip(self.phases, ends, strict=True) if step < end)


@dataclass(frozen=True)
class SegmentationPlan:
    """Seeds of training and held-out studies never meet, nor those of other models. Sizes are (z, y, x) voxels of 3 mm.

    `first_weight` is that of the five lobes, heart and aorta in the Dice loss; other organs weigh 1.
    """

    seed: int = 1
    training_studies: int = 1300
    held_out_studies: int = 20
    cycles: tuple[Cycle, ...] = (
        Cycle(
            phases=(
                Phase(steps=300, size_zyx=(48, 64, 64), batch=2, skipped_stages=1),
                Phase(steps=500, size_zyx=(64, 80, 96), batch=1),
                Phase(steps=150, size_zyx=(96, 128, 128), batch=1),
            ),
            peak_rate=5e-3,
            warm_up_share=0.1,
            entropy_power=0.5,
        ),
        Cycle(
            phases=(
                Phase(steps=220, size_zyx=(64, 96, 96), batch=1),
                Phase(steps=110, size_zyx=(112, 144, 144), batch=1, is_padded=True),
            ),
            peak_rate=3e-3,
            warm_up_share=0.1,
            entropy_power=0.8,
        ),
        Cycle(
            phases=(
                Phase(steps=160, size_zyx=(64, 96, 96), batch=1),
                Phase(steps=80, size_zyx=(112, 144, 144), batch=1, is_padded=True),
            ),
            peak_rate=2e-3,
            warm_up_share=0.1,
            entropy_power=0.8,
        ),
        Cycle(
            phases=(
                Phase(steps=900, size_zyx=(64, 96, 96), batch=1),
                Phase(steps=700, size_zyx=(112, 144, 144), batch=1, is_padded=True),
            ),
            peak_rate=3e-3,
            warm_up_share=0.05,
            entropy_power=1.0,
            drawn_voxels=32_000,
        ),
        Cycle(
            phases=(
                Phase(steps=400, size_zyx=(64, 96, 96), batch=1),
                Phase(steps=900, size_zyx=(112, 144, 144), batch=1, is_padded=True),
            ),
            peak_rate=2e-3,
            warm_up_share=0.05,
            entropy_power=1.0,
            drawn_voxels=32_000,
            studies=360,
        ),
        Cycle(
            phases=(
                Phase(steps=200, size_zyx=(64, 96, 96), batch=1),
                Phase(steps=550, size_zyx=(112, 144, 144), batch=1, is_padded=True),
            ),
            peak_rate=2e-3,
            warm_up_share=0.05,
            entropy_power=1.0,
            drawn_voxels=32_000,
            studies=900,
            strength=0.4,
        ),
        Cycle(
            phases=(Phase(steps=850, size_zyx=(112, 144, 144), batch=1, is_padded=True),),
            peak_rate=2e-3,
            warm_up_share=0.05,
            entropy_power=1.0,
            drawn_voxels=32_000,
            studies=1300,
            strength=0.3,
        ),
    )
    arrival_share: float = 0.4
    weight_decay: float = 1e-4
    first_weight: float = 4.0
    first_training_seed: int = 1_600_000
    first_held_out_seed: int = 1_700_000
    prevalence: Prevalence = field(default_factory=lambda: Prevalence(normal=0.3, most_findings=4))
    training_settings: PhantomSettings = field(
        default_factory=lambda: PhantomSettings(matrix=128, slice_spacing_mm=(2.8, 3.2), contrast_share=0.35)
    )
    held_out_settings: PhantomSettings = field(
        default_factory=lambda: PhantomSettings(matrix=144, slice_spacing_mm=(2.2, 2.8), contrast_share=0.35)
    )
    ranges: Ranges = field(default_factory=Ranges)
    architecture: Architecture = field(default_factory=_make_architecture)
    preprocessing: Preprocessing = field(
        default_factory=lambda: Preprocessing(clip_hu=(-1000.0, 440.0), mean_hu=-400.0, std_hu=465.0)
    )

    @property
    def training_seeds(self) -> range:
        """Seeds of the studies that the weights are fitted on."""
        return range(self.first_training_seed, self.first_training_seed + self.training_studies)

    @property
    def held_out_seeds(self) -> range:
        """Seeds of the studies that only the card sees."""
        return range(self.first_held_out_seed, self.first_held_out_seed + self.held_out_studies)
