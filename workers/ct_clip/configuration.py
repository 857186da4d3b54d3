"""What a catalogue entry says about a CT-CLIP: its architecture and its preprocessing, parsed once. Light: no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Self, TypeVar

from shared.errors import Defect

_Number = TypeVar("_Number", int, float)
_Shape = TypeVar("_Shape", "ImageShape", "TextShape")

_LARGEST_SIZE = 1 << 20
_DEEPEST = 256
_DEPTHS = ("spatial_depth", "temporal_depth", "num_hidden_layers")


@dataclass(frozen=True)
class ImageShape:
    """Shape of the CT-ViT; the defaults are the published one. Sizes in voxels of the prepared volume."""

    dim: int = 512
    codebook_size: int = 8192
    image_size: int = 480
    patch_size: int = 20
    temporal_patch_size: int = 10
    spatial_depth: int = 4
    temporal_depth: int = 4
    dim_head: int = 32
    heads: int = 8
    channels: int = 1

    def __post_init__(self) -> None:
        _require_positive(self, "image")
        if self.image_size % self.patch_size:
            raise Defect(f"image of CT-CLIP: {self.image_size} is no multiple of the patch size {self.patch_size}")

    @property
    def grid_size(self) -> int:
        """Number of patches along each in-plane axis."""
        return self.image_size // self.patch_size

    @property
    def patch_voxels(self) -> int:
        """Number of voxels in one patch, channels included."""
        return self.channels * self.temporal_patch_size * self.patch_size**2

    @property
    def feed_forward_width(self) -> int:
        """Inner width of a gated feed-forward that has the weights of a plain one of 4 x dim (Shazeer 2020)."""
        return 8 * self.dim // 3

    @property
    def pooled_size(self) -> int:
        """Length of an encoded volume once averaged over slices."""
        return self.grid_size**2 * self.dim


@dataclass(frozen=True)
class TextShape:
    """Shape of the BERT; the defaults are CXR-BERT's."""

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12

    def __post_init__(self) -> None:
        _require_positive(self, "text")
        if self.hidden_size % self.num_attention_heads:
            raise Defect(f"text of CT-CLIP: {self.num_attention_heads} heads cannot share {self.hidden_size} channels")
        if not isinstance(self.layer_norm_eps, float) or not 0 < self.layer_norm_eps < 1:
            raise Defect("text of CT-CLIP: layer_norm_eps must be a small positive number")


@dataclass(frozen=True)
class Architecture:
    """Both towers and the length of the latents in which they meet."""

    image: ImageShape = field(default_factory=ImageShape)
    text: TextShape = field(default_factory=TextShape)
    dim_latent: int = 512

    def __post_init__(self) -> None:
        if not _is_positive(self.dim_latent):
            raise Defect("architecture of CT-CLIP: dim_latent must be a positive whole number")

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """Read the `architecture` table of a catalogue entry or of a conversion; what is absent is as published."""
        _refuse_unknown(table, cls, "architecture")
        return cls(
            image=_read_shape(table.get("image", {}), ImageShape, "image"),
            text=_read_shape(table.get("text", {}), TextShape, "text"),
            dim_latent=table.get("dim_latent", cls.dim_latent),
        )

    def to_table(self) -> dict[str, Any]:
        """Return what `from_table` reads."""
        return asdict(self)


class Variant(StrEnum):
    """Whose arithmetic prepares the volume. On grids that need no resampling they are equal."""

    PUBLIC = "public"
    """The published inference script: float64, one in-plane spacing."""

    PREDECESSOR = "predecessor"
    """The predecessor's service: float32, also for the spacing, and at least 20 resampled slices."""


@dataclass(frozen=True)
class Preprocessing:
    """From a volume to the network's input, whose axes are (slice, x, y); the defaults are the published ones."""

    variant: Variant = Variant.PREDECESSOR
    spacing_mm: tuple[float, float, float] = (1.5, 0.75, 0.75)
    shape: tuple[int, int, int] = (240, 480, 480)

    def __post_init__(self) -> None:
        if not all(0 < spacing < math.inf for spacing in self.spacing_mm) or not all(map(_is_positive, self.shape)):
            raise Defect("preprocessing of CT-CLIP: spacing_mm and shape must be positive, shape in whole voxels")

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """Read the `preprocessing` table of a catalogue entry or of a conversion."""
        _refuse_unknown(table, cls, "preprocessing")
        variant = table.get("variant", cls.variant)
        if variant not in list(Variant):
            raise Defect(f"preprocessing of CT-CLIP: variant is {variant!r}, expected one of {[*map(str, Variant)]}")
        return cls(
            variant=Variant(variant),
            spacing_mm=_parse_triple(table.get("spacing_mm", cls.spacing_mm), float),
            shape=_parse_triple(table.get("shape", cls.shape), int),
        )

    def require_fit(self, image: ImageShape) -> None:
        """Raise Defect when the prepared volume is not what the network's patches divide."""
        slices, *sides = self.shape
        if sides != [image.image_size] * 2 or slices % image.temporal_patch_size:
            raise Defect(
                f"preprocessing of CT-CLIP: {list(self.shape)} voxels do not fit a network for"
                f" {image.image_size} x {image.image_size} and slabs of {image.temporal_patch_size} slices"
            )

    def to_table(self) -> dict[str, Any]:
        """Return what `from_table` reads."""
        return {"variant": str(self.variant), "spacing_mm": list(self.spacing_mm), "shape": list(self.shape)}


def _parse_triple(values: Sequence[Any], kind: type[_Number]) -> tuple[_Number, _Number, _Number]:
    if not isinstance(values, Sequence) or len(values) != 3 or not all(type(value) in (int, float) for value in values):
        raise Defect(f"preprocessing of CT-CLIP: expected three numbers (slice, x, y), found {values!r}")
    if any(kind(value) != value for value in values if math.isfinite(value)):
        raise Defect(f"preprocessing of CT-CLIP: expected whole numbers, found {values!r}")
    first, second, third = (kind(value) if math.isfinite(value) else value for value in values)
    return (first, second, third)


def _read_shape(table: Mapping[str, Any], kind: type[_Shape], what: str) -> _Shape:
    _refuse_unknown(table, kind, what)
    return kind(**table)


def _refuse_unknown(table: object, kind: type, what: str) -> None:
    if not isinstance(table, Mapping):
        raise Defect(f"{what} of CT-CLIP: expected a table of names and values")
    known = [each.name for each in fields(kind)]
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise Defect(f"{what} of CT-CLIP: unknown {unknown}; known are {sorted(known)}")


def _require_positive(shape: ImageShape | TextShape, what: str) -> None:
    sizes = {name: value for name, value in asdict(shape).items() if name != "layer_norm_eps"}
    wrong = [
        name
        for name, value in sizes.items()
        if not _is_positive(value) or value > (_DEEPEST if name in _DEPTHS else _LARGEST_SIZE)
    ]
    if wrong:
        raise Defect(f"{what} of CT-CLIP: {wrong} must be positive whole numbers, and not beyond any network")


def _is_positive(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
