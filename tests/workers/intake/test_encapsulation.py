"""Frames inside encapsulated pixel data: tables, fragments, and what is wrong with them."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.intake.encoding import encapsulate, make_item
from workers.intake.dicom.encapsulation import extract_frame, locate_frames
from workers.intake.dicom.syntaxes import Codec
from workers.intake.files import FileCode, FileRejected

FRAMES = [b"first, the longest\xff\xd9", b"second\xff\xd9", b"3rd\xff\xd9\0", b"fourth, and the last\xff\xd9"]


def halve(frame: bytes) -> list[bytes]:
    """Cut a frame in two fragments of even length."""
    middle = len(frame) // 4 * 2
    return [frame[:middle], frame[middle:]]


class TestFrames:
    @pytest.mark.parametrize("has_end", [True, False], ids=["ended", "not ended"])
    @pytest.mark.parametrize("has_table", [True, False], ids=["table", "no table"])
    @pytest.mark.parametrize("in_fragments", [True, False], ids=["fragments", "whole"])
    def test_each_is_found(self, has_end: bool, has_table: bool, in_fragments: bool) -> None:
        pieces = [halve(frame) if in_fragments else [frame] for frame in FRAMES]
        value = encapsulate(pieces, has_table=has_table, has_end=has_end)
        assert [extract_frame(value, index, len(FRAMES), Codec.JPEG) for index in range(len(FRAMES))] == FRAMES

    def test_a_single_frame_has_all_fragments(self) -> None:
        assert extract_frame(encapsulate([[b"ab", b"cd", b"ef"]]), 0, 1, Codec.JPEG) == b"abcdef"

    def test_a_table_of_another_length_is_not_trusted(self) -> None:
        value = make_item(struct.pack("<2L", 0, 12)) + b"".join(make_item(frame) for frame in FRAMES)
        assert extract_frame(value, 2, len(FRAMES), Codec.JPEG) == FRAMES[2]

    @pytest.mark.parametrize("offsets", [(0, 0, 0, 0), (0, 40, 20, 60), (8, 16, 24, 32), (0xFFFFFFFF,) * 4])
    def test_a_table_that_cannot_be_one_is_not_trusted(self, offsets: tuple[int, ...]) -> None:
        value = make_item(struct.pack("<4L", *offsets)) + b"".join(make_item(frame) for frame in FRAMES)
        assert [extract_frame(value, index, len(FRAMES), Codec.JPEG) for index in range(len(FRAMES))] == FRAMES

    def test_the_places_tell_them_without_another_walk(self) -> None:
        value = encapsulate([halve(frame) for frame in FRAMES], has_table=False)
        places = locate_frames(value, len(FRAMES), Codec.JPEG)
        start, end = places[1]
        beside = bytes(start) + value[start:end]
        assert extract_frame(beside, 1, len(FRAMES), Codec.JPEG, places) == FRAMES[1]

    def test_elements_after_the_pixels_do_no_harm(self) -> None:
        value = encapsulate([[b"ab"]]) + b"\xfc\xff\xfc\xffOB\0\0"
        assert extract_frame(memoryview(value), 0, 1, Codec.JPEG) == b"ab"


class TestTrouble:
    @pytest.mark.parametrize(
        ("value", "code"),
        [
            (b"", FileCode.PIXELS_TRUNCATED),
            (make_item(b""), FileCode.PIXELS_TRUNCATED),
            (encapsulate([[b"ab"], [b"cd"]]), FileCode.PIXELS_TRUNCATED),
            (encapsulate([[frame] for frame in FRAMES])[:-20], FileCode.PIXELS_TRUNCATED),
            (b"\xff\xd8\xff\xc3 not in items at all", FileCode.UNDECODABLE),
            (struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF) + bytes(20), FileCode.PIXELS_TRUNCATED),
            (make_item(struct.pack("<4L", 0, 4, 8, 12)) + make_item(bytes(20)), FileCode.UNDECODABLE),
            (make_item(struct.pack("<4L", 0, 1, 2, 0xFFFFFFFF)) + make_item(bytes(20)), FileCode.PIXELS_TRUNCATED),
        ],
        ids=["nothing", "no frames", "too few", "cut", "bare", "endless", "offsets astray", "offsets beyond"],
    )
    def test_it_is_refused(self, value: bytes, code: FileCode) -> None:
        with pytest.raises(FileRejected) as refusal:
            extract_frame(value, 3, len(FRAMES), Codec.JPEG)
        assert refusal.value.code is code

    @given(st.binary(max_size=80), st.integers(1, 5), st.sampled_from(Codec))
    def test_whatever_it_is(self, value: bytes, frames: int, codec: Codec) -> None:
        with suppress(FileRejected):
            assert len(extract_frame(value, frames - 1, frames, codec)) <= len(value)
