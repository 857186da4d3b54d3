"""A good study that the hostile ones are made from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile.packing import Files, unpack


@pytest.fixture(scope="session")
def good_files(phantom_zip: Path) -> Files:
    """The files of a small phantom chest, by name."""
    return unpack(phantom_zip)
