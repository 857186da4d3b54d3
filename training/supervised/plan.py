"""What decides a fine-tuned head's weights, in one object: the same plan, table and encoder give the same weights."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from shared.errors import Defect
from workers.supervised.configuration import HeadKind


class Part(StrEnum):
    """Which weights a stage of the training moves. The code book and the projection never move."""

    HEAD = "head"
    """The head alone, on latents that were computed once."""

    TOP = "top"
    """The head, the last layer of each of both transformers, and their last norms."""

    ALL = "all"
    """The head and all of the encoder but its code book; the deeper a layer lies, the smaller its rate."""


@dataclass(frozen=True)
class FineTuningStage:
    """One stage: the learning rate warms up and falls once over its epochs."""

    part: Part
    epochs: int


@dataclass(frozen=True)
class FineTuningPlan:
    """The defaults are those of the product's trainer.

    `label_beta` is that of the effective number of positives (Cui et al., arXiv 1901.05555); `positive_weight` bounds
    what balances positives and negatives; `layer_decay` is the rate of a layer as a share of that of the layer above.
    """

    head: HeadKind = HeadKind.LAYER_NORM
    stages: tuple[FineTuningStage, ...] = (FineTuningStage(Part.HEAD, 60),)
    seed: int = 1
    batch: int = 32
    head_rate: float = 1e-3
    encoder_rate: float = 1e-5
    weight_decay: float = 0.05
    warm_up: float = 0.1
    final_rate: float = 0.1
    gradient_limit: float = 5.0
    dropout: float = 0.3
    layer_decay: float = 0.8
    label_beta: float = 0.9999
    positive_weight: tuple[float, float] = (1.2, 8.0)
    is_bfloat16: bool = False

    def __post_init__(self) -> None:
        """Refuse what trains nothing. Raises Defect."""
        if not self.stages:
            raise Defect("nothing would be trained; give at least one of --head-epochs, --top-epochs, --all-epochs")
        if self.batch < 1 or self.seed < 0:
            raise Defect("the batch must be at least 1, and the seed not negative")
        if not all(0 < rate < math.inf for rate in (self.head_rate, self.encoder_rate)):
            raise Defect("the rates must be above 0")

    @property
    def trains_encoder(self) -> bool:
        """Whether any stage needs the volumes again and again."""
        return any(stage.part is not Part.HEAD for stage in self.stages)

    def to_table(self) -> dict[str, Any]:
        """Return the plan as plain values."""
        return asdict(self)
