"""TotalSegmentator's command line, started as a program; it needs the guard below, for it spawns processes.

nnU-Net finds the class of a trainer by importing all of its trainers, one of which needs torchvision, which is not
installed. The package's own dictionary of trainers is looked at first, so the one that is wanted is put there.
"""

from __future__ import annotations

from nnunetv2.training.nnUNetTrainer.variants.training_length import nnUNetTrainer_Xepochs_NoMirroring as trainers
from totalsegmentator.bin.TotalSegmentator import main
from totalsegmentator.nnunet import custom_trainers

from workers.segmentation.configuration import FAST_TRAINER

if __name__ == "__main__":
    custom_trainers[FAST_TRAINER] = getattr(trainers, FAST_TRAINER)
    main()
