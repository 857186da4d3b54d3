"""The good study that every case is made from, and the sizes that it is made for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from pydicom import Dataset

from phantom.corpus.files import Files, decode
from phantom.dicom import encode_slices
from phantom.settings import PhantomSettings
from phantom.study import Study, make_study

MIB = 1024 * 1024
GIB = 1024 * MIB


@dataclass(frozen=True)
class Scale:
    """How large the chest is and for which limits of a platform the large cases are made."""

    name: str
    settings: PhantomSettings
    upload_bytes: int
    archive_bytes: int
    archive_entries: int
    many_entries: int
    huge_member_bytes: int


# The smallest study in which lungs are found: what takes time in the corpus is writing it again and again.
_COARSEST = PhantomSettings(matrix=64, slice_spacing_mm=(6.0, 6.0), thickness_per_spacing=(1.0, 1.0))

SMALL = Scale("small", _COARSEST, 24 * MIB, 64 * MIB, 2_000, 2_001, 8 * MIB)
FULL = Scale("full", PhantomSettings.standard(), 4 * GIB, 8 * GIB, 50_000, 2_000_000, 4 * GIB + 4096)
SCALES: Mapping[str, Scale] = {scale.name: scale for scale in (SMALL, FULL)}


@dataclass(frozen=True)
class Chest:
    """The good study of a seed."""

    seed: int
    scale: Scale

    @cached_property
    def study(self) -> Study:
        """The study itself."""
        return make_study(self.seed, (), self.scale.settings)

    @cached_property
    def files(self) -> Files:
        """Its files by name, from head to feet."""
        return encode_files(self.study)

    @cached_property
    def names(self) -> list[str]:
        """The names of its files, from head to feet."""
        return sorted(self.files)

    @property
    def middle(self) -> int:
        """Index of a file in the middle of the lungs."""
        return len(self.names) // 2

    def read(self, index: int) -> Dataset:
        """Return the dataset of a file, counted from the head."""
        return decode(self.files[self.names[index]])

    def take(self, start: int | None, end: int | None, step: int | None = None) -> Files:
        """Return some of the files, counted from the head."""
        return Files({name: self.files[name] for name in self.names[start:end:step]})


def encode_files(study: Study) -> Files:
    """Return the files of a study by name, from head to feet."""
    return Files(sorted((f"DICOM/{name}", content) for name, content in encode_slices(study)))
