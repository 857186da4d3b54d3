"""Digests of weight files: each file is read once in a process, and beside the loading where that is asked for."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from model_weights.catalogue import WeightFile
from model_weights.verifying import verified_by_the_end, verify
from shared.errors import Defect

LONG_AGO_S = 1_700_000_000
OTHER = "not the one that the catalogue pins"


def make_file(folder: Path, *, changed_at_s: int | None = LONG_AGO_S) -> WeightFile:
    path = folder / "weights.bin"
    path.write_bytes(b"abc")
    if changed_at_s is not None:
        os.utime(path, (changed_at_s, changed_at_s))
    return WeightFile("weights", path, hashlib.sha256(b"abc").hexdigest(), 3)


def overwrite(file: WeightFile, content: bytes, changed_at_s: int) -> None:
    with file.path.open("r+b") as stream:
        stream.write(content)
    os.utime(file.path, (changed_at_s, changed_at_s))


class TestOnce:
    def test_a_file_that_has_not_changed_since_is_not_read_again(self, tmp_path: Path) -> None:
        file = make_file(tmp_path)
        verify(file)
        overwrite(file, b"xyz", LONG_AGO_S)  # seen only by who reads it
        verify(file)

    def test_one_that_has_is(self, tmp_path: Path) -> None:
        file = make_file(tmp_path)
        verify(file)
        overwrite(file, b"xyz", LONG_AGO_S + 1)
        with pytest.raises(Defect, match=OTHER):
            verify(file)

    def test_so_is_one_that_changed_just_now(self, tmp_path: Path) -> None:
        file = make_file(tmp_path, changed_at_s=None)
        stat = file.path.stat()
        verify(file)
        overwrite(file, b"xyz", LONG_AGO_S)
        os.utime(file.path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        with pytest.raises(Defect, match=OTHER):
            verify(file)


def load(file: WeightFile, fault: Defect | None = None) -> str:
    """Verify a file beside a loading that may fail."""
    with verified_by_the_end():
        verify(file)
        if fault is not None:
            raise fault
    return "loaded"


class TestBesideTheLoading:
    def test_a_sound_file_is_loaded(self, tmp_path: Path) -> None:
        assert load(make_file(tmp_path)) == "loaded"

    def test_another_file_is_told_at_the_end(self, tmp_path: Path) -> None:
        file = make_file(tmp_path)
        overwrite(file, b"xyz", LONG_AGO_S)
        with pytest.raises(Defect, match=OTHER):
            load(file)

    def test_it_is_told_instead_of_what_the_loading_stumbled_over(self, tmp_path: Path) -> None:
        file = make_file(tmp_path)
        overwrite(file, b"xyz", LONG_AGO_S)
        with pytest.raises(Defect, match=OTHER):
            load(file, Defect("the tensors do not fit"))

    def test_with_a_sound_file_the_fault_of_the_loading_stays(self, tmp_path: Path) -> None:
        file = make_file(tmp_path)
        with pytest.raises(Defect, match="do not fit"):
            load(file, Defect("the tensors do not fit"))

    def test_a_missing_file_is_told_too(self, tmp_path: Path) -> None:
        file = make_file(tmp_path)
        file.path.unlink()
        with pytest.raises(Defect, match="cannot be read"):
            load(file)
