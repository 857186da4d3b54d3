"""A stack: slices of one series with one orientation, matrix, spacing and kernel, ordered along the normal."""

from __future__ import annotations

from dataclasses import dataclass

from workers.intake.dicom.header import Image, Technique
from workers.intake.notices import Notice


@dataclass(frozen=True)
class Stack:
    """Images in the order of ascending position along their common normal, no two at the same one.

    `conflicts` are SOPInstanceUIDs that several different images claim, `contested_mm` positions where several images
    lay of which nothing tells the right one.
    """

    images: tuple[Image, ...]
    notices: tuple[Notice, ...] = ()
    conflicts: tuple[str, ...] = ()
    contested_mm: tuple[float, ...] = ()

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID; empty where the files do not say."""
        return self.images[0].identity.series_uid

    @property
    def study_uid(self) -> str:
        """StudyInstanceUID; empty where the files do not say."""
        return self.images[0].identity.study_uid

    @property
    def technique(self) -> Technique:
        """How the first image was made; the others agree in what divides stacks."""
        return self.images[0].technique

    @property
    def shape_yx(self) -> tuple[int, int]:
        """Rows and columns."""
        return (self.images[0].pixels.rows, self.images[0].pixels.columns)
