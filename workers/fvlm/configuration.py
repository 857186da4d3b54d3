"""What a catalogue entry says about an fVLM: its architecture and its preprocessing, parsed once. Light: no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Self, TypeVar

from shared.errors import Defect
from workers.ct_clip.configuration import TextShape

Triple = tuple[int, int, int]
_Number = TypeVar("_Number", int, float)

_LARGEST_SIZE = 1 << 20
_DEEPEST = 256

_BERT_ONLY = "type_vocab_size"
"""What CT-CLIP's text side has and fVLM's has not."""


@dataclass(frozen=True)
class ImageShape:
    """Shape of the image encoder and the organ pooling; the defaults are the published one. Axes are (z, y, x).

    `levels` are the blocks whose outputs are kept beside the final one, counted from 0.
    """

    dim: int = 768
    mlp_dim: int = 3072
    heads: int = 12
    depth: int = 12
    patch_size: Triple = (16, 16, 32)
    position_grid: Triple = (7, 16, 11)
    levels: tuple[int, ...] = (3, 6, 9)
    pool_heads: int = 4
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        for name in ("patch_size", "position_grid"):
            if not isinstance(getattr(self, name), tuple) or len(getattr(self, name)) != 3:
                raise Defect(f"image of fVLM: {name} must be three numbers (z, y, x)")
        if not isinstance(self.levels, tuple) or not all(type(level) is int for level in self.levels):
            raise Defect("image of fVLM: levels must be a list of blocks")
        if not isinstance(self.layer_norm_eps, float) or not 0 < self.layer_norm_eps < 1:
            raise Defect("image of fVLM: layer_norm_eps must be a small positive number")
        self._require_sizes()

    def _require_sizes(self) -> None:
        sizes = (self.dim, self.mlp_dim, self.heads, self.pool_heads, *self.patch_size, *self.position_grid)
        if not all(_is_positive(size) and size <= _LARGEST_SIZE for size in sizes):
            raise Defect("image of fVLM: sizes must be positive whole numbers, and not beyond any network")
        if not _is_positive(self.depth) or self.depth > _DEEPEST:
            raise Defect(f"image of fVLM: depth must be a whole number from 1 to {_DEEPEST}")
        if self.dim % self.heads or self.dim % self.pool_heads:
            raise Defect(f"image of fVLM: {self.heads} and {self.pool_heads} heads cannot share {self.dim} channels")
        if list(self.levels) != sorted(set(self.levels)) or not set(self.levels) <= set(range(self.depth)):
            raise Defect(f"image of fVLM: levels are {list(self.levels)}, expected ascending blocks of {self.depth}")

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """Read the `image` table."""
        _refuse_unknown(table, {each.name for each in fields(cls)}, "image")
        values: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in table.items()}
        return cls(**values)

    @property
    def positions(self) -> int:
        """Number of learned positions."""
        return math.prod(self.position_grid)

    def compute_grid(self, shape: Sequence[int]) -> Triple:
        """Return how many tokens a window has along each axis. Raises Defect if patches do not fit."""
        if len(shape) != 3 or any(size % patch or not size for size, patch in zip(shape, self.patch_size, strict=True)):
            raise Defect(f"a window of {list(shape)} voxels is no multiple of fVLM's patches {list(self.patch_size)}")
        z, y, x = (size // patch for size, patch in zip(shape, self.patch_size, strict=True))
        return (z, y, x)


@dataclass(frozen=True)
class Architecture:
    """Both sides and the length of the latents in which they meet. `prompt_tokens` is where prompts are cut."""

    image: ImageShape = field(default_factory=ImageShape)
    text: TextShape = field(default_factory=TextShape)
    dim_latent: int = 256
    prompt_tokens: int = 384

    def __post_init__(self) -> None:
        if not _is_positive(self.dim_latent) or not _is_positive(self.prompt_tokens):
            raise Defect("architecture of fVLM: dim_latent and prompt_tokens must be positive whole numbers")
        if self.prompt_tokens > self.text.max_position_embeddings:
            raise Defect(f"architecture of fVLM: no {self.prompt_tokens} positions for the tokens of a prompt")

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """Read the `architecture` table of a catalogue entry or of a conversion; what is absent is as published."""
        _refuse_unknown(table, {each.name for each in fields(cls)}, "architecture")
        text = table.get("text", {})
        _refuse_unknown(text, {each.name for each in fields(TextShape)} - {_BERT_ONLY}, "text")
        return cls(
            image=ImageShape.from_table(table.get("image", {})),
            text=TextShape(**text),
            dim_latent=table.get("dim_latent", cls.dim_latent),
            prompt_tokens=table.get("prompt_tokens", cls.prompt_tokens),
        )

    def to_table(self) -> dict[str, Any]:
        """Return what `from_table` reads."""
        table = asdict(self)
        del table["text"][_BERT_ONLY]
        for name, value in table["image"].items():
            table["image"][name] = list(value) if isinstance(value, tuple) else value
        return table


class GeometryKind(StrEnum):
    """How organs are cut out of a volume. The same study gives different numbers in the two."""

    PUBLIC = "public"
    """What the weights were trained and evaluated on: one spacing, a window of one size about each organ."""

    PRODUCT = "product"
    """The predecessor's: the scanner's grid, each organ stretched to fill the window."""


@dataclass(frozen=True)
class Preprocessing:
    """From a volume and its label map to windows; axes are (z, y, x), the defaults are the published ones.

    `window` is what the network sees of an organ. The part that holds all organs is cut out with `margins` and filled
    up to `least_shape`. `spacing_mm` is the grid of the public geometry; a small network looks at a coarser one.
    """

    geometry: GeometryKind = GeometryKind.PUBLIC
    window: Triple = (112, 288, 352)
    least_shape: Triple = (112, 256, 352)
    margins: Triple = (5, 20, 20)
    spacing_mm: tuple[float, float, float] = (3.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        for name in ("window", "least_shape"):
            if not all(_is_positive(size) for size in getattr(self, name)):
                raise Defect(f"preprocessing of fVLM: {name} must be positive whole numbers (z, y, x)")
        if min(self.margins) < 0 or not all(0 < spacing < math.inf for spacing in self.spacing_mm):
            raise Defect("preprocessing of fVLM: margins must not be negative, spacing_mm must be positive")

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """Read the `preprocessing` table of a catalogue entry or of a conversion; what is absent is as published."""
        _refuse_unknown(table, {each.name for each in fields(cls)}, "preprocessing")
        kind = table.get("geometry", cls.geometry)
        if kind not in list(GeometryKind):
            raise Defect(f"preprocessing of fVLM: geometry is {kind!r}, expected one of {[*map(str, GeometryKind)]}")
        return cls(
            geometry=GeometryKind(kind),
            window=_parse_triple(table.get("window", cls.window), int),
            least_shape=_parse_triple(table.get("least_shape", cls.least_shape), int),
            margins=_parse_triple(table.get("margins", cls.margins), int),
            spacing_mm=_parse_triple(table.get("spacing_mm", cls.spacing_mm), float),
        )

    def require_fit(self, image: ImageShape) -> None:
        """Raise Defect when the window is not what the network's patches divide."""
        image.compute_grid(self.window)

    def to_table(self) -> dict[str, Any]:
        """Return what `from_table` reads."""
        triples = ("window", "least_shape", "margins", "spacing_mm")
        return {"geometry": str(self.geometry), **{name: list(getattr(self, name)) for name in triples}}


def _parse_triple(values: Sequence[Any], kind: type[_Number]) -> tuple[_Number, _Number, _Number]:
    if not isinstance(values, Sequence) or len(values) != 3 or not all(type(value) in (int, kind) for value in values):
        raise Defect(f"preprocessing of fVLM: expected three numbers (z, y, x), found {values!r}")
    z, y, x = (kind(value) for value in values)
    return (z, y, x)


def _refuse_unknown(table: object, known: set[str], what: str) -> None:
    if not isinstance(table, Mapping):
        raise Defect(f"{what} of fVLM: expected a table of names and values")
    unknown = sorted(set(table) - known)
    if unknown:
        raise Defect(f"{what} of fVLM: unknown {unknown}; known are {sorted(known)}")


def _is_positive(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
