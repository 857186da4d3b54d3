"""What metrics tell of any stage that has run."""

from __future__ import annotations

from collections.abc import Mapping

from shared.json_values import JsonObject
from shared.metrics import STAGE_STEP_SECONDS
from shared.stages import StageName

_SUFFIX = "_s"


def count_steps(stage: StageName, facts: JsonObject) -> None:
    """Count the seconds of each step that a stage tells of in `timings`."""
    timings = facts.get("timings")
    if not isinstance(timings, Mapping):
        return
    for step, seconds in timings.items():
        if isinstance(seconds, int | float):
            STAGE_STEP_SECONDS.labels(stage=stage, step=step.removesuffix(_SUFFIX)).observe(seconds)
