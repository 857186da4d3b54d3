"""What a distractor is: its name, whom it can be found in, and how it is put into a chest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from phantom.anatomy.plan import BodyPlan
from phantom.findings.finding import Site

PlanChange = Callable[[BodyPlan, np.random.Generator], BodyPlan]
Painter = Callable[[Site], None]


@dataclass(frozen=True)
class Distractor:
    """A distractor by name. `change` reshapes the body plan before painting; `paint` works on the painted chest.

    Variants of the anatomy are painted before the findings, marks of the scan (`is_artefact`) over everything.
    """

    name: str
    paint: Painter | None = None
    change: PlanChange | None = None
    is_artefact: bool = False
    is_of_men: bool = False

    def suits(self, plan: BodyPlan) -> bool:
        """Return whether a patient can have it."""
        return plan.is_male or not self.is_of_men
