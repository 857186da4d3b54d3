"""What a reconstruction will do: which steps there and back, for how many slices, within the budget. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from model_weights.policies.reconstruction import ReconstructionOptions
from workers.diffusion.configuration import ProcessShape
from workers.diffusion.cost import SliceCost
from workers.diffusion.schedule import (
    Schedule,
    Stop,
    plan_decoding,
    plan_encoding,
    plan_repeated_decoding,
    space_times,
)


@dataclass(frozen=True)
class Plan:
    """Steps from a slice to noise and back, for a number of slices.

    Without steps of encoding, noise is drawn, `draws` times. `is_shortened` says that the budget did not allow what was
    asked for.
    """

    encoding: tuple[Stop, ...]
    decoding: tuple[Stop, ...]
    slices: int
    draws: int = 1
    is_shortened: bool = False

    def count_tflop(self, cost: SliceCost) -> float:
        """Return what all of it costs."""
        decoded = self.draws * len(self.decoding)
        return self.slices * ((len(self.encoding) + decoded) * cost.prediction + decoded * cost.guidance)


def plan_reconstruction(
    options: ReconstructionOptions, schedule: Schedule, process: ProcessShape, cost: SliceCost, *, slices: int
) -> Plan | None:
    """Return the plan for at most `slices` slices; None where the budget allows not even one at the fewest steps."""
    wanted = process.steps if options.steps is None else options.steps
    for steps in range(wanted, min(options.fewest_steps, wanted) - 1, -1):
        plan = plan_steps(options, schedule, process, steps=steps, slices=min(options.slices, slices))
        if plan.count_tflop(cost) <= options.budget_tflop:
            return replace(plan, is_shortened=steps < wanted)
    affordable = int(options.budget_tflop / replace(plan, slices=1).count_tflop(cost))
    return replace(plan, slices=affordable, is_shortened=True) if affordable else None


def plan_steps(
    options: ReconstructionOptions, schedule: Schedule, process: ProcessShape, *, steps: int, slices: int
) -> Plan:
    """Return the plan with a number of steps in each direction, whatever it costs."""
    quirks, level = options.quirks, process.noise_level
    is_encoded = process.is_encoded and not quirks.random_start
    encoding = plan_encoding(schedule, space_times(level, steps)) if is_encoded else ()
    if quirks.repeated_times:
        decoding = plan_repeated_decoding(schedule, level, quirks.repeated_times)
    else:
        decoding = plan_decoding(schedule, space_times(level - quirks.late_start, steps))
    return Plan(encoding, decoding, slices, 1 if is_encoded else process.draws)
