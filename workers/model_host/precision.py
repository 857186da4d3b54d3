"""Whether a model may run in less than float32: only where that was measured, for its weights on this kind of device.

`ctclip models precision` measures and writes `precision.json` beside the weights; entries of other weights, devices or
precisions stay in it and say nothing here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from model_weights.catalogue import ModelEntry
from shared.errors import Defect
from shared.settings import Precision

FILE_NAME = "precision.json"
LARGEST_ERROR = 0.01
"""Most that a probability may differ from float32."""


@dataclass(frozen=True)
class PrecisionMeasurement:
    """What a precision changed, over some studies, against float32.

    `code_flips` is the share of tokens with another code; None where the model has no code book.
    """

    digest: str
    device: str
    precision: Precision
    studies: int
    largest_error: float
    code_flips: float | None
    seconds: float
    fp32_seconds: float

    @property
    def is_allowed(self) -> bool:
        """Whether every probability stayed near enough."""
        return self.largest_error <= LARGEST_ERROR


def require_measured(entry: ModelEntry, device: str, precision: Precision) -> None:
    """Raise Defect unless the precision is float32 or was measured to be near enough for this entry and device."""
    if precision is Precision.FP32:
        return
    found = [one for one in read_measurements(entry) if _is_of(one, entry.digest, device, precision)]
    advice = f"Run `ctclip models precision {entry.stage}` here, or set CTCLIP_PRECISION=fp32"
    if not found:
        raise Defect(f"{precision} was not measured for the model {entry.name} on this device ({device}). {advice}")
    if not found[-1].is_allowed:
        raise Defect(
            f"{precision} changes a probability of the model {entry.name} on this device ({device}) by"
            f" {found[-1].largest_error:.3g}; allowed are {LARGEST_ERROR}. Set CTCLIP_PRECISION=fp32"
        )


def read_measurements(entry: ModelEntry) -> list[PrecisionMeasurement]:
    """Return what was measured of the weights in the entry's folder. Raises Defect when the file cannot be read."""
    path = _locate(entry)
    if not path.exists():
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["measurements"]
        return [PrecisionMeasurement(**{**row, "precision": Precision(row["precision"])}) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Defect(f"{FILE_NAME} beside the weights of {entry.name} cannot be read; remove it") from error


def record(entry: ModelEntry, measurement: PrecisionMeasurement) -> Path:
    """Write a measurement beside the weights, in place of an earlier one of the same kind, and return the file."""
    path, new = _locate(entry), measurement
    kept = [one for one in read_measurements(entry) if not _is_of(one, new.digest, new.device, new.precision)]
    _write([*kept, new], path)
    return path


def _write(measurements: Sequence[PrecisionMeasurement], path: Path) -> None:
    draft = path.with_suffix(".new")
    document = {"measurements": [asdict(each) for each in measurements]}
    draft.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    draft.replace(path)


def _is_of(measurement: PrecisionMeasurement, digest: str, device: str, precision: Precision) -> bool:
    return (measurement.digest, measurement.device, measurement.precision) == (digest, device, precision)


def _locate(entry: ModelEntry) -> Path:
    return entry.get_file("weights").path.parent / FILE_NAME
