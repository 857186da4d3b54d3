"""Models that sleep instead of reading, so that a load meets the platform and not the arithmetic.

`python -m benchmarks.load.sleeping --stages ct_clip,...` is a worker process like any other but for its models; how
long they sleep stands in the environment.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from model_weights.catalogue import ModelEntry, find_installed
from shared.features import FEATURE_NAMES, get_model
from shared.settings import Settings
from shared.stages import WEIGHTED_STAGES, StageName
from workers import __main__ as worker
from workers.model_stage import describe_run
from workers.runtime import registry
from workers.runtime.stage import Stage, StageContext, StageOutput

SLEEP_VARIABLE = "CTCLIP_LOAD_MODEL_SECONDS"
_VALUE = 0.25


class SleepingStage:
    """Says the same of every study, after a while. Facts are those of the installed weights, so results look alike."""

    def __init__(self, entry: ModelEntry, seconds: float) -> None:
        self._entry = entry
        self._seconds = seconds

    @property
    def name(self) -> StageName:
        """The stage in whose place it stands."""
        return self._entry.stage

    def run(self, context: StageContext) -> StageOutput:
        """Sleep and answer. Raises StaleLease when the work is no longer wanted."""
        time.sleep(self._seconds)
        context.report(1.0)
        return StageOutput(features=_make_features(self.name), facts=describe_run(self._entry, {}))


def make_stage(settings: Settings, stage: StageName) -> SleepingStage | None:
    """Return what stands in for a model; None where it is not installed."""
    entry = find_installed(settings, stage)
    return None if entry is None else SleepingStage(entry, float(os.environ.get(SLEEP_VARIABLE, "0")))


def main() -> None:
    """Run a worker whose models sleep."""
    real = registry.make_stage

    def choose(name: StageName, settings: Settings) -> Stage | None:
        return make_stage(settings, name) if name in WEIGHTED_STAGES else real(name, settings)

    registry.make_stage = choose
    worker.main()


def _make_features(stage: StageName) -> Mapping[str, float]:
    return {name: _VALUE for name in FEATURE_NAMES if get_model(name) is stage}


if __name__ == "__main__":
    main()
