"""In which arithmetic a model runs: less than float32 only where that was measured, for its weights on such a device.

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
from shared.precision import Precision, PrecisionChoice
from shared.telemetry import get_logger

FILE_NAME = "precision.json"
LARGEST_ERROR = 0.01
"""Most that a probability may differ from float32."""

_LARGEST_SHARE_OF_TIME = 0.95
"""Two runs of the same differ by less than the rest."""

_FEWEST_STUDIES = 4

_log = get_logger()


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

    @property
    def pays(self) -> bool:
        """Whether it is worth taking, as far as enough studies tell."""
        return self.studies >= _FEWEST_STUDIES and is_worth(self.largest_error, self.seconds / self.fp32_seconds)


def is_worth(largest_error: float, share_of_time: float) -> bool:
    """Return whether a precision is near enough to float32, and faster: it takes that share of float32's time."""
    return largest_error <= LARGEST_ERROR and share_of_time < _LARGEST_SHARE_OF_TIME


def choose_precision(entry: ModelEntry, device: str, choice: PrecisionChoice) -> Precision:
    """Return the arithmetic of a model. Raises Defect where bf16 is asked for and not measured to be near enough."""
    if choice is PrecisionChoice.FP32:
        return Precision.FP32
    if choice is PrecisionChoice.BF16:
        _require_allowed(_find_measurement(entry, device), entry, device)
        return Precision.BF16
    try:
        found = _find_measurement(entry, device)
    except Defect as defect:
        _log.warning("measured precisions are left out", model=entry.name, reason=str(defect))
        return Precision.FP32
    return Precision.BF16 if found is not None and found.pays else Precision.FP32


def _require_allowed(found: PrecisionMeasurement | None, entry: ModelEntry, device: str) -> None:
    advice = "Set CTCLIP_PRECISION=auto, which keeps such models in float32"
    if found is None:
        raise Defect(
            f"{Precision.BF16} was not measured for the model {entry.name} on this device ({device}). Run"
            f" `ctclip models precision {entry.stage}` here. {advice}"
        )
    if not found.is_allowed:
        raise Defect(
            f"{found.precision} changes a probability of the model {entry.name} on this device ({device}) by"
            f" {found.largest_error:.3g}; allowed are {LARGEST_ERROR}. {advice}"
        )


def _find_measurement(entry: ModelEntry, device: str) -> PrecisionMeasurement | None:
    found = [one for one in read_measurements(entry) if _is_of(one, entry.digest, device, Precision.BF16)]
    return found[-1] if found else None


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
