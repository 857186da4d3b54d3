"""Imports that are put off until they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from workers.intake.late_imports import PUT_OFF, RARELY_USED

PUT_OFF_ALL = """
from workers.intake.late_imports import PUT_OFF, find_loaded, put_off_imports
put_off_imports(PUT_OFF)
import workers.intake.child
print(sorted(find_loaded()))
"""


def run(code: str) -> str:
    """Return what a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


class TestPutOff:
    def test_a_reader_of_headers_loads_none_of_the_large_packages(self) -> None:
        assert run(PUT_OFF_ALL) == "[]"

    def test_a_reader_of_pixels_loads_what_most_studies_need(self) -> None:
        loaded = set(run(PUT_OFF_ALL.replace("PUT_OFF", "RARELY_USED")).strip("[]").replace("'", "").split(", "))
        assert loaded == PUT_OFF - RARELY_USED

    @pytest.mark.parametrize("package", sorted(PUT_OFF))
    def test_the_first_use_loads_the_package(self, package: str) -> None:
        code = f"{PUT_OFF_ALL}\nimport sys\nsys.modules[{package!r}].__doc__\nprint({package!r} in find_loaded())"
        assert run(code).splitlines()[-1] == "True"
