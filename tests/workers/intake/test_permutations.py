"""However the files of a study are packed, the same volume comes out, and the same series is chosen."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from phantom.corpus.chest import SMALL, Chest
from phantom.corpus.files import change_file
from phantom.corpus.series import copy_instances
from phantom.corpus.syntaxes import ENCODINGS, compress, compress_rle, rewrite
from tests.hostile.packing import MemorySource, pack
from workers.intake.archive.names import is_junk, is_unsafe
from workers.intake.limits import IntakeLimits
from workers.intake.question import Question
from workers.intake.report import ChosenSeries
from workers.intake.study import read_study

CHEST = Chest(7, SMALL)
COUNT = 60
LOSSLESS: Mapping[str, Callable[[bytes], bytes]] = {
    "implicit": partial(rewrite, syntax=ImplicitVRLittleEndian),
    "big endian": partial(rewrite, syntax=ExplicitVRBigEndian),
    "deflated": partial(rewrite, syntax=DeflatedExplicitVRLittleEndian),
    "rle": lambda content: change_file(content, compress_rle),
    **{
        name: partial(
            lambda content, encoding: change_file(content, partial(compress, encoding=encoding)), encoding=one
        )
        for name, one in ENCODINGS.items()
        if not one.is_lossy
    },
}

Names = Sequence[str]
plain_characters = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="/\\")
folders = st.lists(st.text(plain_characters, min_size=1, max_size=12), max_size=5)
names = st.builds(lambda path, name: "/".join((*path, name)), folders, st.text(plain_characters, max_size=40)).filter(
    lambda name: not is_junk(name) and not is_unsafe(f"{name}0")
)
orders = st.permutations(range(COUNT))
some_slices = st.lists(st.integers(0, COUNT - 1), unique=True, max_size=6)


@dataclass(frozen=True)
class Result:
    """What must not depend on how the files are packed."""

    sha256: str | None
    chosen: ChosenSeries


def read(source: bytes | Path) -> Result:
    """Read an archive or a folder; the study must be accepted."""
    with tempfile.TemporaryDirectory() as scratch:
        report = read_study(
            source if isinstance(source, Path) else MemorySource(source),
            Question(has_digest=True),
            IntakeLimits(threads=1),
            scratch=Path(scratch),
            report=lambda _share: None,
        ).report
    assert report.problem is None
    assert report.hu is not None
    assert report.chosen is not None
    return Result(report.hu.sha256_int16_zyx, report.chosen)


@pytest.fixture(scope="module")
def expected() -> Result:
    """The volume of the files in their own order."""
    return read(pack(CHEST.files))


def place(contents: Sequence[bytes], some_names: Names) -> dict[str, bytes]:
    """Return contents under names, made unique."""
    return {f"{some_names[index % len(some_names)]}{index}": content for index, content in enumerate(contents)}


def list_contents(order: Sequence[int]) -> list[bytes]:
    return [CHEST.files[CHEST.names[index]] for index in order]


@cache
def encode(index: int, form: str) -> bytes:
    return LOSSLESS[form](CHEST.files[CHEST.names[index]])


class TestPacking:
    @settings(max_examples=15)
    @given(orders, st.lists(names, min_size=1, max_size=COUNT))
    def test_neither_order_nor_names_nor_folders_change_the_volume(
        self, expected: Result, order: list[int], some_names: list[str]
    ) -> None:
        assert read(pack(place(list_contents(order), some_names))) == expected

    @settings(max_examples=10)
    @given(
        orders, st.lists(st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)), min_size=COUNT, max_size=COUNT)
    )
    def test_each_entry_may_be_stored_or_deflated(self, expected: Result, order: list[int], methods: list[int]) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for index, method in zip(order, methods, strict=True):
                archive.writestr(f"{index}", CHEST.files[CHEST.names[index]], method)
        assert read(buffer.getvalue()) == expected

    @settings(max_examples=5)
    @given(orders, st.lists(names, min_size=1, max_size=COUNT))
    def test_a_folder_gives_what_a_zip_gives(self, expected: Result, order: list[int], some_names: list[str]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for name, content in place(list_contents(order), [f"{name}." for name in some_names]).items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            assert read(Path(folder)) == expected

    @settings(max_examples=8)
    @given(orders, some_slices)
    def test_files_that_come_twice_change_nothing(self, expected: Result, order: list[int], again: list[int]) -> None:
        assert read(pack(place(list_contents([*order, *again]), ["x"]))) == expected


class TestEncoding:
    @settings(max_examples=20)
    @given(orders, st.dictionaries(st.integers(0, COUNT - 1), st.sampled_from(sorted(LOSSLESS)), max_size=8))
    def test_slices_may_be_written_in_different_lossless_syntaxes(
        self, expected: Result, order: list[int], forms: dict[int, str]
    ) -> None:
        contents = [
            encode(index, forms[index]) if index in forms else CHEST.files[CHEST.names[index]] for index in order
        ]
        assert read(pack(place(contents, ["x"]))).sha256 == expected.sha256


class TestSeveralSeries:
    @settings(max_examples=10)
    @given(st.permutations(range(2 * COUNT)))
    def test_the_order_of_two_series_does_not_change_the_choice(self, order: list[int]) -> None:
        contents = [*CHEST.files.values(), *list_sibling()]
        straight = read(pack(place(contents, ["x"])))
        assert read(pack(place([contents[index] for index in order], ["x"]))) == straight


@cache
def list_sibling() -> list[bytes]:
    """Return the slices once more, as another series of a kernel that is liked less or more."""

    def change(dataset: Dataset) -> None:
        dataset.SeriesInstanceUID = f"{dataset.SeriesInstanceUID[:50]}.2"
        dataset.ConvolutionKernel = "BONE"

    return list(copy_instances(CHEST, "other", change).values())
