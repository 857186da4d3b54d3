"""What a catalogue entry says about a diffusion detector: two networks, the process and the slices. Light: no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self, TypeVar

from shared.errors import Defect
from workers.ct_clip.configuration import Preprocessing as VolumePreprocessing

_Shape = TypeVar("_Shape", "UNetShape", "ClassifierShape")

NORM_GROUPS = 32
_LISTS = ("attention_resolutions", "channel_mult")
_ATTENTION_POOL = "attention"


@dataclass(frozen=True, kw_only=True)
class NetworkShape:
    """What both networks have in common, by the names of Dhariwal and Nichol's options.

    `attention_resolutions` are down-factors: 8 is where the image is an eighth of its size. `num_head_channels` of -1
    leaves the number of heads to `num_heads`.
    """

    image_size: int = 256
    in_channels: int = 1
    model_channels: int
    out_channels: int = 2
    num_res_blocks: int = 2
    attention_resolutions: tuple[int, ...]
    channel_mult: tuple[int, ...]
    dropout: float = 0.0
    num_heads: int = 1
    num_head_channels: int = -1
    use_scale_shift_norm: bool = True
    resblock_updown: bool
    use_new_attention_order: bool = False

    def __post_init__(self) -> None:
        _require_positive(self)
        if self.model_channels % NORM_GROUPS:
            raise Defect(f"a diffusion network needs a multiple of {NORM_GROUPS} channels, not {self.model_channels}")
        if self.image_size % self.deepest_factor:
            raise Defect(f"{len(self.channel_mult)} levels do not halve {self.image_size} pixels evenly")
        if not self.use_scale_shift_norm:
            raise Defect("a diffusion network without use_scale_shift_norm is not supported")
        for channels in self.attention_channels:
            if channels % (self.num_heads if self.num_head_channels == -1 else self.num_head_channels):
                raise Defect(f"the heads of a diffusion network cannot share {channels} channels evenly")

    @property
    def embedding_channels(self) -> int:
        """Length of the embedding of a time."""
        return 4 * self.model_channels

    @property
    def deepest_factor(self) -> int:
        """How many times smaller the image is in the middle of the network."""
        return int(2 ** (len(self.channel_mult) - 1))

    @property
    def deepest_channels(self) -> int:
        """Channels in the middle of the network."""
        return self.channel_mult[-1] * self.model_channels

    @property
    def attention_channels(self) -> tuple[int, ...]:
        """Channels of every level that attends, the middle included."""
        levels = (multiple * self.model_channels for multiple in self.channel_mult)
        attending = [c for level, c in enumerate(levels) if 2**level in self.attention_resolutions]
        return (*attending, self.deepest_channels)

    def count_heads(self, channels: int) -> int:
        """Return how many heads share so many channels."""
        return self.num_heads if self.num_head_channels == -1 else channels // self.num_head_channels


@dataclass(frozen=True, kw_only=True)
class UNetShape(NetworkShape):
    """Shape of the noise predictor; the defaults are the full-size one (232 155 394 parameters).

    With `num_classes` of 0 it is told no label.
    """

    model_channels: int = 128
    attention_resolutions: tuple[int, ...] = (16,)
    channel_mult: tuple[int, ...] = (1, 2, 4, 8)
    resblock_updown: bool = False
    num_classes: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.out_channels != 2 * self.in_channels:
            raise Defect("the noise predictor needs two outputs for each input: the noise and its variance")


@dataclass(frozen=True, kw_only=True)
class ClassifierShape(NetworkShape):
    """Shape of the slice classifier; the defaults are the full-size one (3 368 514 parameters)."""

    model_channels: int = 32
    attention_resolutions: tuple[int, ...] = (8, 16, 32)
    channel_mult: tuple[int, ...] = (1, 1, 2, 2, 4, 4)
    num_head_channels: int = 64
    resblock_updown: bool = True
    pool: str = _ATTENTION_POOL

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pool != _ATTENTION_POOL:
            raise Defect(f"the slice classifier's pool is {self.pool!r}; only {_ATTENTION_POOL!r} is supported")
        if self.out_channels < 2:
            raise Defect("the slice classifier needs two classes")

    @property
    def pooled_tokens(self) -> int:
        """Tokens that the pool looks at: one for each position that is left, and their mean."""
        return int((self.image_size // self.deepest_factor) ** 2 + 1)


@dataclass(frozen=True)
class ProcessShape:
    """The process that the weights were trained for; the defaults are the published ones.

    `noise_level` is the time to which a slice is encoded; `classifier_scale` is the weight of the guidance, which leads
    to `healthy_class`. `steps` are those that suit the weights, each way; a policy may ask for others. Where
    `is_encoded` is false noise is drawn over the slice instead, `draws` times, and the mean of what is decoded counts.
    """

    diffusion_steps: int = 1000
    noise_level: int = 200
    classifier_scale: float = 100.0
    healthy_class: int = 0
    pathological_class: int = 1
    steps: int = 50
    is_encoded: bool = True
    draws: int = 1

    def __post_init__(self) -> None:
        if not _is_positive(self.steps) or not _is_positive(self.draws):
            raise Defect("process of the diffusion detector: steps and draws must be positive whole numbers")
        if self.is_encoded and self.draws > 1:
            raise Defect("process of the diffusion detector: a slice that is encoded has no draws to take the mean of")
        if not 0 < self.noise_level < self.diffusion_steps:
            raise Defect(f"noise_level is {self.noise_level}; it must lie between 0 and {self.diffusion_steps}")
        if self.classifier_scale < 0 or self.healthy_class == self.pathological_class:
            raise Defect("classifier_scale must not be negative, and the two classes must be different")


@dataclass(frozen=True)
class MapShape:
    """How maps of these weights are shown; the defaults leave the differences as they are.

    `is_body_only`: nothing outside of the body counts. `smoothing_mm` is the standard deviation of a Gauss filter.
    `threshold_hu` is where a region begins, unless the policy says otherwise.
    """

    is_body_only: bool = False
    smoothing_mm: float = 0.0
    threshold_hu: float = 150.0

    def __post_init__(self) -> None:
        if self.smoothing_mm < 0 or self.threshold_hu < 0:
            raise Defect("map of the diffusion detector: smoothing_mm and threshold_hu must not be negative")


@dataclass(frozen=True)
class Architecture:
    """Both networks, the process in which they work together, and what is made of their differences."""

    unet: UNetShape = field(default_factory=UNetShape)
    classifier: ClassifierShape = field(default_factory=ClassifierShape)
    process: ProcessShape = field(default_factory=ProcessShape)
    map: MapShape = field(default_factory=MapShape)

    def __post_init__(self) -> None:
        if (self.unet.image_size, self.unet.in_channels) != (self.classifier.image_size, self.classifier.in_channels):
            raise Defect("the noise predictor and the slice classifier must take the same images")
        if max(self.process.healthy_class, self.process.pathological_class) >= self.classifier.out_channels:
            raise Defect("the slice classifier has no such class")

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """Read the `architecture` table of a catalogue entry or of a conversion; what is absent is as published."""
        refuse_unknown(table, cls, "architecture")
        process, shown = table.get("process", {}), table.get("map", {})
        refuse_unknown(process, ProcessShape, "process")
        refuse_unknown(shown, MapShape, "map")
        return cls(
            unet=_read_shape(table.get("unet", {}), UNetShape),
            classifier=_read_shape(table.get("classifier", {}), ClassifierShape),
            process=ProcessShape(**process),
            map=MapShape(**shown),
        )

    def to_table(self) -> dict[str, Any]:
        """Return what `from_table` reads."""
        table = asdict(self)
        for network in ("unet", "classifier"):
            table[network] |= {name: list(table[network][name]) for name in _LISTS}
        return table


@dataclass(frozen=True)
class Preprocessing:
    """From a volume to slices: CT-CLIP's preprocessing, the middle part of its slices, each a square of `slice_size`.

    `first` and `last` are shares of the prepared volume's slices, of which the last is not taken.
    """

    volume: VolumePreprocessing = field(default_factory=VolumePreprocessing)
    first: float = 0.05
    last: float = 0.95
    slice_size: int = 256

    def __post_init__(self) -> None:
        if not 0 <= self.first < self.last <= 1 or not _is_positive(self.slice_size):
            raise Defect("preprocessing of the diffusion detector: first < last within 0..1, and a positive slice_size")
        if not self.list_slices():
            raise Defect("preprocessing of the diffusion detector: no slice lies between first and last")

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """Read the `preprocessing` table of a catalogue entry or of a conversion."""
        refuse_unknown(table, cls, "preprocessing")
        return cls(**{**table, "volume": VolumePreprocessing.from_table(table.get("volume", {}))})

    def list_slices(self) -> range:
        """Return which slices of the prepared volume are looked at."""
        return list_slices(self.volume.shape[0], self.first, self.last)

    def require_fit(self, architecture: Architecture) -> None:
        """Raise Defect when the slices are not what the networks take."""
        if architecture.unet.image_size != self.slice_size or architecture.unet.in_channels != 1:
            raise Defect(
                f"preprocessing of the diffusion detector: slices of {self.slice_size} pixels do not fit networks for"
                f" {architecture.unet.image_size} pixels and {architecture.unet.in_channels} channels"
            )

    def to_table(self) -> dict[str, Any]:
        """Return what `from_table` reads."""
        return {**asdict(self), "volume": self.volume.to_table()}


def list_slices(depth: int, first: float = Preprocessing.first, last: float = Preprocessing.last) -> range:
    """Return which of `depth` slices lie between two shares of them, both cut to a whole number."""
    return range(int(first * depth), int(last * depth))


def refuse_unknown(table: Mapping[str, Any], kind: type, what: str) -> None:
    """Raise Defect when a table has keys that a dataclass has not."""
    known = [each.name for each in fields(kind)]
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise Defect(f"{what} of the diffusion detector: unknown {unknown}; known are {sorted(known)}")


def _read_shape(table: Mapping[str, Any], kind: type[_Shape]) -> _Shape:
    refuse_unknown(table, kind, kind.__name__)
    lists = {name: tuple(int(value) for value in table[name]) for name in _LISTS if name in table}
    return kind(**{**table, **lists})


def _require_positive(shape: NetworkShape) -> None:
    names = ("image_size", "in_channels", "model_channels", "out_channels", "num_res_blocks", "num_heads")
    wrong = [name for name in names if not _is_positive(getattr(shape, name))]
    if wrong or not shape.channel_mult or not all(_is_positive(multiple) for multiple in shape.channel_mult):
        raise Defect(f"diffusion network: {wrong or ['channel_mult']} must be positive whole numbers")
    if shape.num_head_channels != -1 and not _is_positive(shape.num_head_channels):
        raise Defect("diffusion network: num_head_channels must be positive, or -1")


def _is_positive(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
