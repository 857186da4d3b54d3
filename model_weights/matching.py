"""Whether tensors are those that an architecture needs: nothing missing, nothing more, every shape as expected."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from shared.errors import Defect

Shape = tuple[int, ...]

_NAMES_SHOWN = 8
_LONGEST_NAME = 120


def require_fit(
    model: str, expected: Mapping[str, Shape], found: Mapping[str, Shape], optional: AbstractSet[str] = frozenset()
) -> None:
    """Raise Defect naming what is missing (unless optional), unexpected or of another shape."""
    faults = {
        "missing": sorted(expected.keys() - found.keys() - optional),
        "unexpected": [show_name(name) for name in sorted(found.keys() - expected.keys())],
        "of another shape": [
            f"{show_name(name)} {found[name]} instead of {expected[name]}"
            for name in expected
            if name in found and found[name] != expected[name]
        ],
    }
    described = [f"{len(names)} {kind}: {_list_some(names)}" for kind, names in faults.items() if names]
    if described:
        raise Defect(f"the weights do not fit the architecture of {model}; {'; '.join(described)}")


def show_name(name: str) -> str:
    """Return a name out of a file of others as it may stand in a message: in one line, and not too long."""
    shown = name if name.isprintable() else ascii(name)
    return shown if len(shown) <= _LONGEST_NAME else f"{shown[:_LONGEST_NAME]}..."


def _list_some(names: list[str]) -> str:
    rest = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
