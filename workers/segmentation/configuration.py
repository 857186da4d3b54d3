"""What a catalogue entry says about a segmentation network: its shape and preprocessing, parsed once. Light: no torch.

The names are those of nnU-Net's plans (`arch_kwargs` of `PlainConvUNet`); axes are (z, y, x) throughout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from shared.errors import Defect

Triple = tuple[int, int, int]
FloatTriple = tuple[float, float, float]

FAST_TRAINER = "nnUNetTrainer_4000epochs_NoMirroring"
"""The trainer that TotalSegmentator names for the fast model of `total`; it stands in the name of the folder."""

FAST_SPACING_MM: FloatTriple = (3.0, 3.0, 3.0)
"""Spacing of the fast model. The package resamples to it before nnU-Net looks, so weights of another do not fit."""


@dataclass(frozen=True)
class Architecture:
    """A plain convolutional U-Net: stages from fine to coarse, strides and kernels as (z, y, x).

    `patch_size` is the window that slides over the volume, in voxels of the network's spacing.
    """

    n_stages: int
    features_per_stage: tuple[int, ...]
    kernel_sizes: tuple[Triple, ...]
    strides: tuple[Triple, ...]
    n_conv_per_stage: tuple[int, ...]
    n_conv_per_stage_decoder: tuple[int, ...]
    patch_size: Triple
    trainer: str = FAST_TRAINER
    conv_bias: bool = True
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        per_stage = {
            "features_per_stage": self.features_per_stage,
            "kernel_sizes": self.kernel_sizes,
            "strides": self.strides,
            "n_conv_per_stage": self.n_conv_per_stage,
        }
        wrong = [name for name, values in per_stage.items() if len(values) != self.n_stages]
        if wrong or len(self.n_conv_per_stage_decoder) != self.n_stages - 1:
            names = wrong or ["n_conv_per_stage_decoder"]
            raise Defect(f"architecture of the segmentation: {names} do not fit n_stages, which is {self.n_stages}")
        self._require_positive()
        if self.trainer != FAST_TRAINER:
            raise Defect(f"architecture of the segmentation: the trainer is {self.trainer!r}, expected {FAST_TRAINER}")

    @property
    def stride_zyx(self) -> Triple:
        """How many voxels of the input the coarsest stage has in one; a window must be a multiple of it."""
        totals = [1, 1, 1]
        for stride in self.strides:
            totals = [total * step for total, step in zip(totals, stride, strict=True)]
        return _parse_triple(totals, "strides")

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """Read the `architecture` table of a catalogue entry. Raises Defect that names the field."""
        _require_fields(table, cls.__dataclass_fields__, "architecture", optional=("trainer", "conv_bias", "norm_eps"))
        return cls(
            n_stages=int(table["n_stages"]),
            features_per_stage=_parse_counts(table["features_per_stage"]),
            kernel_sizes=_parse_triples(table["kernel_sizes"], "kernel_sizes"),
            strides=_parse_triples(table["strides"], "strides"),
            n_conv_per_stage=_parse_counts(table["n_conv_per_stage"]),
            n_conv_per_stage_decoder=_parse_counts(table["n_conv_per_stage_decoder"]),
            patch_size=_parse_triple(table["patch_size"], "patch_size"),
            trainer=str(table.get("trainer", FAST_TRAINER)),
            conv_bias=bool(table.get("conv_bias", True)),
            norm_eps=float(table.get("norm_eps", 1e-5)),
        )

    def to_table(self) -> dict[str, Any]:
        """Return what `from_table` reads."""
        return {name: _to_plain(getattr(self, name)) for name in self.__dataclass_fields__}

    def _require_positive(self) -> None:
        counts = (*self.features_per_stage, *self.n_conv_per_stage, *self.n_conv_per_stage_decoder, *self.patch_size)
        steps = [step for triple in (*self.kernel_sizes, *self.strides) for step in triple]
        if self.n_stages < 1 or min((*counts, *steps)) < 1:
            raise Defect("architecture of the segmentation: every number must be positive")
        if any(size % total for size, total in zip(self.patch_size, self.stride_zyx, strict=True)):
            raise Defect(f"architecture of the segmentation: patch_size must be a multiple of {list(self.stride_zyx)}")


@dataclass(frozen=True)
class Preprocessing:
    """Spacing of the network's input, and what its voxels are: HU cut to `clip_hu`, less `mean_hu`, over `std_hu`."""

    clip_hu: tuple[float, float]
    mean_hu: float
    std_hu: float
    spacing_mm: FloatTriple = FAST_SPACING_MM

    def __post_init__(self) -> None:
        if self.spacing_mm != FAST_SPACING_MM:
            raise Defect(
                f"preprocessing of the segmentation: spacing_mm is {list(self.spacing_mm)}, the fast task has"
                f" {list(FAST_SPACING_MM)}"
            )
        if self.clip_hu[0] >= self.clip_hu[1] or self.std_hu <= 0:
            raise Defect("preprocessing of the segmentation: clip_hu must rise and std_hu be positive")

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """Read the `preprocessing` table of a catalogue entry. Raises Defect that names the field."""
        _require_fields(table, cls.__dataclass_fields__, "preprocessing", optional=("spacing_mm",))
        low, high = (float(value) for value in table["clip_hu"])
        z, y, x = (float(value) for value in table.get("spacing_mm", FAST_SPACING_MM))
        return cls((low, high), float(table["mean_hu"]), float(table["std_hu"]), (z, y, x))

    def to_table(self) -> dict[str, Any]:
        """Return what `from_table` reads."""
        return {name: _to_plain(getattr(self, name)) for name in self.__dataclass_fields__}


def _require_fields(
    table: Mapping[str, Any], known: Mapping[str, object], what: str, *, optional: Sequence[str]
) -> None:
    unknown = sorted(set(table) - set(known))
    missing = sorted(set(known) - set(optional) - set(table))
    if unknown or missing:
        raise Defect(f"{what} of the segmentation: unknown {unknown}, missing {missing}; known are {sorted(known)}")


def _parse_counts(values: Sequence[Any]) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def _parse_triples(values: Sequence[Any], field: str) -> tuple[Triple, ...]:
    return tuple(_parse_triple(value, field) for value in values)


def _parse_triple(values: Sequence[Any], field: str) -> Triple:
    if len(values) != 3:
        raise Defect(f"architecture of the segmentation: {field} needs three numbers (z, y, x), found {len(values)}")
    z, y, x = (int(value) for value in values)
    return (z, y, x)


def _to_plain(value: Any) -> Any:  # noqa: ANN401  # any field of a table
    return [_to_plain(item) for item in value] if isinstance(value, tuple) else value
