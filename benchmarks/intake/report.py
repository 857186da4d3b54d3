"""What the measurements of one encoding say, beside the targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks.intake.contenders.measuring import Measurement
from benchmarks.intake.encodings import Encoding

OURS, STAGE = "ours", "stage"
SLOWEST = "dicom2nifti"
OTHERS = ("pydicom", "SimpleITK", "dcm2niix")

BEYOND_THE_VOLUME = ("lungs", "statistics")
"""Steps of ours after the volume is there, which no other contender takes. Beside these only the way to it counts."""

SLOWEST_TARGET = 0.12
PREFLIGHT_TARGET = 0.3
MEMORY_TARGET = 1.5
CHUNK_MB = 16.8  # the most that is held of the archive at once


@dataclass(frozen=True)
class Ratio:
    """One comparison with its target."""

    title: str
    value: float
    target: float
    unit: str = "x"

    @property
    def is_met(self) -> bool:
        """Whether the target is reached."""
        return self.value <= self.target


@dataclass
class Comparison:
    """All readings of one encoding. Sizes are in 10^6 bytes."""

    encoding: Encoding
    archive_mb: float
    volume_mb: float
    runs: dict[str, list[Measurement]] = field(default_factory=dict)

    def add(self, contender: str, measurement: Measurement) -> None:
        """Take in one reading."""
        self.runs.setdefault(contender, []).append(measurement)

    @property
    def differing(self) -> tuple[str, ...]:
        """The contenders whose voxels are not ours."""
        ours = {run.digest for run in self.runs.get(OURS, ())}
        return tuple(
            name
            for name, runs in self.runs.items()
            if ours and not {run.digest for run in runs if run.digest is not None} <= ours
        )

    @property
    def is_met(self) -> bool:
        """Whether all targets are reached and all voxels are equal."""
        return all(ratio.is_met for ratio in self.iterate_ratios()) and not self.differing

    def iterate_ratios(self) -> Iterator[Ratio]:
        """Yield what can be compared of what was measured."""
        if OURS not in self.runs:
            return
        ours, volume = self.seconds(OURS), self.seconds_to_volume
        if SLOWEST in self.runs:
            yield Ratio(f"ZIP to volume beside {SLOWEST}", volume / self.seconds(SLOWEST), SLOWEST_TARGET)
        others = {name: self.seconds(name) for name in OTHERS if name in self.runs}
        if others:
            best = min(others, key=others.__getitem__)
            title = f"ZIP to volume beside {best}, the best of the others"
            yield Ratio(title, volume / others[best], self.encoding.target)
        if "preflight" in self.runs:
            yield Ratio("preflight beside the full read", self.seconds("preflight") / ours, PREFLIGHT_TARGET)
        limit_mb = MEMORY_TARGET * self.volume_mb + CHUNK_MB
        for name in (OURS, STAGE):
            if name in self.runs:
                yield Ratio(f"peak memory, {name}", self.peak_mb(name), limit_mb, " MB")

    @property
    def seconds_to_volume(self) -> float:
        """The median time that we take until the volume is there."""
        return self._middle(OURS, lambda run: run.seconds - sum(run.steps.get(step, 0.0) for step in BEYOND_THE_VOLUME))

    def seconds(self, contender: str) -> float:
        """Return the median time of a contender."""
        return self._middle(contender, lambda run: run.seconds)

    def peak_mb(self, contender: str) -> float:
        """Return the median peak of a contender's memory."""
        return self._middle(contender, lambda run: run.peak_mb)

    def _middle(self, contender: str, choose: Callable[[Measurement], float]) -> float:
        return median(choose(run) for run in self.runs[contender])

    def steps(self, contender: str) -> dict[str, float]:
        """Return the median seconds of each step that a contender tells of."""
        runs = self.runs[contender]
        return {step: median(run.steps.get(step, 0.0) for run in runs) for step in runs[0].steps}

    def describe(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        return {
            "encoding": self.encoding.title,
            "archive_mb": self.archive_mb,
            "volume_mb": self.volume_mb,
            "contenders": {
                name: {"seconds": self.seconds(name), "peak_mb": self.peak_mb(name), "steps": self.steps(name)}
                for name in self.runs
            },
            "ratios": [{**vars(ratio), "is_met": ratio.is_met} for ratio in self.iterate_ratios()],
            "differing": list(self.differing),
        }


def print_comparisons(comparisons: Sequence[Comparison]) -> None:
    """Print each encoding: seconds and peak memory of all, ratios with their targets."""
    for comparison in comparisons:
        sizes = f"{comparison.archive_mb:.0f} MB, volume {comparison.volume_mb:.0f} MB"
        print(f"\n{comparison.encoding.title} ({sizes})")
        for name, runs in comparison.runs.items():
            steps = ", ".join(f"{step} {seconds:.2f}" for step, seconds in comparison.steps(name).items())
            resting = median(run.resting_mb for run in runs)
            print(
                f"  {name:<12} {comparison.seconds(name):7.2f} s   peak {comparison.peak_mb(name):6.0f} MB"
                f" (at rest {resting:.0f} MB)   {steps}"
            )
        if OURS in comparison.runs:
            print(
                f"  ours without {' and '.join(BEYOND_THE_VOLUME)}: {comparison.seconds_to_volume:.2f} s to the volume"
            )
        for ratio in comparison.iterate_ratios():
            verdict = "" if ratio.is_met else "   MISSED"
            shown = f"{ratio.value:.2f}{ratio.unit}" if ratio.unit == "x" else f"{ratio.value:.0f}{ratio.unit}"
            print(f"  {ratio.title}: {shown}, target {ratio.target:.4g}{ratio.unit}{verdict}")
        verdict = f"DIFFER in {', '.join(comparison.differing)}" if comparison.differing else "equal in all"
        print(f"  voxels {verdict}")
    is_met = all(comparison.is_met for comparison in comparisons)
    print("\nall targets met" if is_met else "\na target was MISSED")
