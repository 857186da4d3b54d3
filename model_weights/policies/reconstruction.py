"""What a policy says of the anomaly diffusion's second part: whether slices are reconstructed, how, at what cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Self, cast

from shared.errors import Defect
from shared.json_values import JsonObject, JsonValue

KEY = "reconstruction"
"""Name of the table in a policy; without it nothing is reconstructed."""

PREDECESSOR = "predecessor"


_NUMBERS: Mapping[str, tuple[type, ...]] = {
    "int": (int,),
    "int | None": (int,),
    "float": (int, float),
    "float | None": (int, float),
}


def _require_types(options: object, what: str) -> None:
    """Raise Defect where a number is no number or a flag is none; TOML and JSON hold anything."""
    for each in fields(cast("Any", options)):
        value: Any = getattr(options, each.name)
        kind = str(each.type)
        is_wrong = kind == "bool" and not isinstance(value, bool)
        if kind in _NUMBERS and not (value is None and "None" in kind):
            is_wrong = (
                isinstance(value, bool) or not isinstance(value, _NUMBERS[kind]) or math.isnan(cast("float", value))
            )
        if is_wrong:
            raise Defect(f"{what} of the policy: {each.name} is {value!r}, expected {kind}")


class When(StrEnum):
    """When slices are reconstructed: never, when the classifier suspects one of them, or in every study."""

    OFF = "off"
    ON_SUSPICION = "on_suspicion"
    ALWAYS = "always"


class SliceChoice(StrEnum):
    """Which slices are reconstructed: evenly over the chest, or those that the classifier suspects most."""

    EVENLY = "evenly"
    MOST_SUSPICIOUS = "most_suspicious"


@dataclass(frozen=True)
class Quirks:
    """What the predecessor's reconstruction does and the paper's does not. Each is off unless named.

    `random_start`: noise is drawn over the slices, where the paper encodes them. `late_start`: decoding begins one time
    below the noise level. `repeated_times`: so many times, not the steps asked for, about every second of which comes
    twice (0 is off; the predecessor has 300). `level_offset`: 1e-8 is added to levels. `padded_slices`: slices outside
    the scan are reconstructed too. `hidden_faults`: an error that is not a number counts as 0.
    """

    random_start: bool = False
    late_start: bool = False
    repeated_times: int = 0
    level_offset: bool = False
    padded_slices: bool = False
    hidden_faults: bool = False

    def __post_init__(self) -> None:
        _require_types(self, "quirks")
        if self.repeated_times < 0 or self.repeated_times == 1:
            raise Defect("reconstruction: repeated_times must be 0, or at least 2")


PREDECESSOR_QUIRKS = Quirks(
    random_start=True, late_start=True, repeated_times=300, level_offset=True, padded_slices=True, hidden_faults=True
)


@dataclass(frozen=True)
class RegionOptions:
    """Which parts of a map are told: where it is over `threshold_hu`, of at least `least_mm2`, the `most` largest.

    Without `threshold_hu` the model's own threshold is taken.
    """

    threshold_hu: float | None = None
    least_mm2: float = 25.0
    most: int = 5

    def __post_init__(self) -> None:
        _require_types(self, "regions")
        if (self.threshold_hu or 0) < 0 or self.least_mm2 < 0 or self.most < 0:
            raise Defect("reconstruction: regions: threshold_hu, least_mm2 and most must not be negative")


@dataclass(frozen=True)
class ReconstructionOptions:
    """What a site decides about the reconstruction: whether, how much of it, and at what cost at most.

    `suspicion` is the probability of a slice at which `on_suspicion` runs. `steps` are those of each direction, the
    model's own where None. Where they cost more than `budget_tflop` for all slices there are fewer, down to
    `fewest_steps`, then fewer slices. The cost is counted, not timed, so that a busy machine gives the same map. `seed`
    is for noise that is drawn.
    """

    when: When = When.OFF
    suspicion: float = 0.5
    choice: SliceChoice = SliceChoice.EVENLY
    slices: int = 16
    steps: int | None = None
    fewest_steps: int = 10
    budget_tflop: float = 5000.0
    seed: int = 0
    quirks: Quirks = field(default_factory=Quirks)
    regions: RegionOptions = field(default_factory=RegionOptions)

    def __post_init__(self) -> None:
        _require_types(self, "reconstruction")
        if min(self.slices, self.fewest_steps, 1 if self.steps is None else self.steps) < 1:
            raise Defect("reconstruction: slices, steps and fewest_steps must be positive whole numbers")
        if not 0 <= self.suspicion <= 1 or self.budget_tflop <= 0:
            raise Defect("reconstruction: suspicion must lie in 0..1, and budget_tflop must be positive")
        if not 0 <= self.seed < 2**63:
            raise Defect("reconstruction: seed must not be negative, and below 2^63")

    @classmethod
    def from_table(cls, table: object) -> Self:
        """Read the `reconstruction` table of a policy; `quirks` may say "predecessor" for all of them."""
        values = _read_known(table, cls, KEY)
        readers: Mapping[str, Callable[[Any], object]] = {
            "when": lambda value: _parse_member(value, When, "when"),
            "choice": lambda value: _parse_member(value, SliceChoice, "choice"),
            "quirks": _read_quirks,
            "regions": lambda value: RegionOptions(**_read_known(value, RegionOptions, "regions")),
        }
        read: dict[str, Any] = {name: readers[name](value) for name, value in values.items() if name in readers}
        return cls(**{**values, **read})

    def to_document(self) -> dict[str, JsonValue]:
        """Return the JSON form, which `from_table` reads: everything that differs from the defaults, and `when`."""
        said = {"when": str(self.when), **_list_changes(self)}
        return cast("dict[str, JsonValue]", said)


def read_reconstruction(policy: JsonObject) -> ReconstructionOptions:
    """Return what a policy in its JSON form says of the reconstruction. Raises Defect when it cannot be understood."""
    return ReconstructionOptions.from_table(policy.get(KEY, {}))


def _list_changes(options: object) -> dict[str, Any]:
    changes = {}
    for name, value in asdict(cast("Any", options)).items():
        default = _get_default(type(options), name)
        if isinstance(value, dict):
            value = {key: each for key, each in value.items() if each != getattr(default, key)}  # noqa: PLW2901
        if value not in (default, {}):
            changes[name] = str(value) if isinstance(value, StrEnum) else value
    return changes


def _get_default(kind: type, name: str) -> object:
    described = {each.name: each for each in fields(kind)}[name]
    return described.default if described.default is not MISSING else cast("Any", described.default_factory)()


def _read_known(table: object, kind: type, what: str) -> dict[str, Any]:
    if not isinstance(table, Mapping):
        raise Defect(f"{what} must be a table")
    known = [each.name for each in fields(kind)]
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise Defect(f"{what} of the policy: unknown {unknown}; known are {sorted(known)}")
    return dict(table)


def _read_quirks(table: object) -> Quirks:
    if table == PREDECESSOR:
        return PREDECESSOR_QUIRKS
    if isinstance(table, str):
        raise Defect(f"reconstruction: quirks are {table!r}; expected a table or {PREDECESSOR!r}")
    return Quirks(**_read_known(table, Quirks, "quirks"))


def _parse_member(text: object, kind: type[StrEnum], name: str) -> StrEnum:
    if text not in list(kind):
        raise Defect(f"reconstruction: {name} is {text!r}, expected one of {[*map(str, kind)]}")
    return kind(str(text))
