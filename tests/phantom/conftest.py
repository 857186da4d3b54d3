"""Small studies, each made once per test process."""

from __future__ import annotations

from functools import cache
from typing import Protocol

import pytest

from phantom.study import PhantomSettings, Study, make_study

COARSE = PhantomSettings.coarse()


class MakeStudy(Protocol):
    def __call__(self, seed: int, *findings: str, settings: PhantomSettings = COARSE) -> Study: ...


@pytest.fixture(scope="session")
def studies() -> MakeStudy:
    """Give the coarse study of a seed, from memory if it was made before."""

    @cache
    def make(seed: int, *findings: str, settings: PhantomSettings = COARSE) -> Study:
        return make_study(seed, findings, settings)

    return make
