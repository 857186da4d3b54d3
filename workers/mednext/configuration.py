"""What a catalogue entry says about a MedNeXt: its architecture and its preprocessing, parsed once. Light: no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self, TypeVar

from shared.errors import Defect

_Number = TypeVar("_Number", int, float)


class NormKind(StrEnum):
    """`group` normalises each channel over space, `layer` each voxel over channels."""

    GROUP = "group"
    LAYER = "layer"


class Activation(StrEnum):
    """How logits become probabilities: `sigmoid` for findings that may stand together, `softmax` for one of many."""

    SIGMOID = "sigmoid"
    SOFTMAX = "softmax"


@dataclass(frozen=True)
class Architecture:
    """Shape of the network; the defaults are the full-size one (6 905 366 parameters)."""

    num_classes: int
    in_channels: int = 1
    base_channels: int = 32
    depth_config: tuple[int, ...] = (2, 2, 2, 2, 2)
    exp_r: tuple[int, ...] = (4, 4, 4, 4, 4)
    kernel_size: int = 3
    norm_type: NormKind = NormKind.GROUP
    grn: bool = False
    dropout: float = 0.0
    activation: Activation = Activation.SIGMOID

    def __post_init__(self) -> None:
        sizes = (self.num_classes, self.in_channels, self.base_channels, self.kernel_size, *self.exp_r)
        if not all(isinstance(size, int) and size > 0 for size in sizes):
            raise Defect("architecture of MedNeXt: classes, channels, kernel and expansions must be positive numbers")
        if len(self.depth_config) != len(self.exp_r) or not self.depth_config:
            raise Defect(
                f"depth_config names {len(self.depth_config)} stages and exp_r {len(self.exp_r)}; both need one each"
            )
        if self.kernel_size % 2 == 0:
            raise Defect(f"kernel_size is {self.kernel_size}; it must be odd")

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """Read the `architecture` table of a catalogue entry or of a training configuration."""
        _refuse_unknown(table, cls.__dataclass_fields__, "architecture")
        if "num_classes" not in table:
            raise Defect("architecture of MedNeXt: num_classes is missing")
        values = dict(table)
        for field in ("depth_config", "exp_r"):
            if field in values:
                values[field] = _parse_sizes(values[field], field)
        for field, kind in (("norm_type", NormKind), ("activation", Activation)):
            if field in values:
                values[field] = _parse_member(values[field], kind, field)
        return cls(**values)

    def to_table(self) -> dict[str, Any]:
        """Return what `from_table` reads."""
        values = {field: getattr(self, field) for field in self.__dataclass_fields__}
        return {
            **values,
            "depth_config": list(self.depth_config),
            "exp_r": list(self.exp_r),
            "norm_type": str(self.norm_type),
            "activation": str(self.activation),
        }


@dataclass(frozen=True)
class Preprocessing:
    """From a volume to the network's input; the defaults are the full-size model's."""

    spacing_xyz_mm: tuple[float, float, float] = (1.0, 1.0, 1.5)
    roi_xyz: tuple[int, int, int] = (320, 320, 224)
    window_hu: tuple[float, float] = (-1000.0, 1000.0)
    crop_by_body_part: bool = False

    def __post_init__(self) -> None:
        if min(self.spacing_xyz_mm) <= 0 or min(self.roi_xyz) <= 0 or self.window_hu[0] >= self.window_hu[1]:
            raise Defect("preprocessing of MedNeXt: spacing and roi must be positive, the window must rise")

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """Read the `preprocessing` table of a catalogue entry or of a training configuration."""
        _refuse_unknown(table, cls.__dataclass_fields__, "preprocessing")
        default = cls()
        return cls(
            spacing_xyz_mm=_parse_triple(table.get("spacing_xyz_mm", default.spacing_xyz_mm), float),
            roi_xyz=_parse_triple(table.get("roi_xyz", default.roi_xyz), int),
            window_hu=_parse_pair(table.get("window_hu", default.window_hu)),
            crop_by_body_part=bool(table.get("crop_by_body_part", default.crop_by_body_part)),
        )

    def to_table(self) -> dict[str, Any]:
        """Return what `from_table` reads."""
        return {
            "spacing_xyz_mm": list(self.spacing_xyz_mm),
            "roi_xyz": list(self.roi_xyz),
            "window_hu": list(self.window_hu),
            "crop_by_body_part": self.crop_by_body_part,
        }


def _refuse_unknown(table: object, known: Mapping[str, object], what: str) -> None:
    if not isinstance(table, Mapping):
        raise Defect(f"{what} of MedNeXt: expected a table of names and values")
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise Defect(f"{what} of MedNeXt: unknown {unknown}; known are {sorted(known)}")


def _parse_sizes(values: object, field: str) -> tuple[int, ...]:
    if not isinstance(values, list | tuple) or not all(type(value) is int for value in values):
        raise Defect(f"architecture of MedNeXt: {field} must be a list of whole numbers, found {values!r}")
    return tuple(values)


def _parse_member(text: object, kind: type[StrEnum], field: str) -> StrEnum:
    if text not in list(kind):
        raise Defect(
            f"architecture of MedNeXt: {field} is {text!r}, expected one of {[str(member) for member in kind]}"
        )
    return kind(str(text))


def _parse_triple(values: object, kind: type[_Number]) -> tuple[_Number, _Number, _Number]:
    first, second, third = (kind(value) for value in _require_numbers(values, 3))
    return (first, second, third)


def _parse_pair(values: object) -> tuple[float, float]:
    low, high = (float(value) for value in _require_numbers(values, 2))
    return (low, high)


def _require_numbers(values: object, count: int) -> Sequence[float]:
    numbers = values if isinstance(values, list | tuple) else ()
    if len(numbers) != count or not all(type(each) in (int, float) and math.isfinite(each) for each in numbers):
        raise Defect(f"preprocessing of MedNeXt: expected a list of {count} numbers, found {values!r}")
    return numbers
