"""Reads the pixels of images out of the files that hold them: each file once, checked, by any number of threads."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from workers.intake.archive import ExpansionBudget, Member
from workers.intake.dicom.encapsulation import Place, locate_frames
from workers.intake.dicom.header import Image
from workers.intake.dicom.pixels import SliceCounts, Stored, convert_to_hu, decode_frame
from workers.intake.files import FileRejected
from workers.intake.spool import Spool, Spooled
from workers.intake.stacks.repeats import UNREADABLE


class SliceReader:
    """From an image to its HU. A file of one slice is held in memory, a larger one goes through a scratch file."""

    def __init__(self, members: Mapping[int, Member], budget: ExpansionBudget, scratch: Path) -> None:
        self._members = members
        self._budget = budget
        self._scratch = scratch
        self._spool: Spool | None = None
        self._spooled: dict[int, Spooled] = {}
        self._places: dict[int, tuple[Place, ...]] = {}
        self._lock = threading.Lock()
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._opened.close()

    def read_hu(self, image: Image, out: npt.NDArray[np.int16]) -> SliceCounts:
        """Write the HU of one image into `out`, (rows, columns) int16.

        Raises FileRejected when the file is damaged or cannot be decoded, InputProblem when the archive lies.
        """
        return convert_to_hu(self._decode(image), image.placement, out)

    def digest_pixels(self, image: Image) -> bytes:
        """Return a digest over the stored values of an image, whatever its transfer syntax; of a damaged one, none."""
        try:
            stored = self._decode(image)
        except FileRejected:
            return UNREADABLE
        return hashlib.blake2b(np.ascontiguousarray(stored, dtype="<i4").data, digest_size=16).digest()

    def _decode(self, image: Image) -> Stored:
        value, frame = self._read_value(image)
        layout = image.pixels
        if layout.frames == 1 or layout.syntax.codec is None:
            return decode_frame(layout, value, frame)
        with self._lock:
            if image.ordinal not in self._places:  # once for all frames: walking there for each takes minutes
                self._places[image.ordinal] = locate_frames(value, layout.frames, layout.syntax.codec)
        return decode_frame(layout, value, frame, self._places[image.ordinal])

    def _read_value(self, image: Image) -> tuple[bytes | memoryview, int]:
        """Return the value of PixelData that holds the image, and the number of its frame therein."""
        layout = image.pixels
        member = self._members[image.ordinal]
        start = layout.offset
        end = image.file_bytes if layout.length is None else start + layout.length
        if member.fits_memory and layout.frames == 1:
            return member.read(self._budget)[start:end], 0
        spooled = self._spool_once(member)
        if layout.syntax.is_native:
            return spooled.read_at(start + image.frame * layout.frame_bytes, layout.frame_bytes), 0
        return spooled.view()[start:end], image.frame

    def _spool_once(self, member: Member) -> Spooled:
        with self._lock:
            if member.ordinal not in self._spooled:
                if self._spool is None:
                    self._spool = self._opened.enter_context(Spool(self._scratch))
                self._spooled[member.ordinal] = self._spool.take(member.iterate(self._budget))
            return self._spooled[member.ordinal]
