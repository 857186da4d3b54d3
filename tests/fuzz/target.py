"""What a target of fuzzing is, and the list of them with the part of the time that each gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.byte_mutations import Mutation

Read = Callable[[bytes, Path], str]
"""Reads an input, with a folder for scratch files, and says what became of it."""


class Broken(Exception):
    """A promise of intake that an input broke."""


class Contained(Exception):
    """The child that read an input died of it, and nothing else did."""


@dataclass(frozen=True)
class Target:
    """How inputs are made, and what reads them."""

    list_seeds: Callable[[], Sequence[bytes]]
    mutate: Mutation
    open: Callable[[], AbstractContextManager[Read]]


@dataclass(frozen=True)
class Plan:
    """Where a target is defined, its share of the time, and whether it runs in the fuzzing process, as Python."""

    module: str
    share: float
    is_python: bool


PLANS: Mapping[str, Plan] = {
    "archive": Plan("tests.fuzz.python_targets", 0.2, is_python=True),
    "headers": Plan("tests.fuzz.python_targets", 0.3, is_python=True),
    "nifti": Plan("tests.fuzz.python_targets", 0.1, is_python=True),
    "pixels": Plan("tests.fuzz.contained_targets", 0.2, is_python=False),
    "study": Plan("tests.fuzz.contained_targets", 0.2, is_python=False),
}
