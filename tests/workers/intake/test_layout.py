"""How pixels are laid out, as a dataset tells it, and what is refused before a pixel is read."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tests.workers.intake import encoding
from tests.workers.intake.encoding import wrap
from workers.intake.dicom.parsing import read_layout, scan_file
from workers.intake.dicom.pixels import Stored, decode_frame
from workers.intake.dicom.tags import Tag
from workers.intake.files import FileCode, FileRejected

VALUES = np.arange(15, dtype=np.uint16).reshape(3, 5) * 17


def write(value: bytes, syntax: UID, representation: str = "OW", **changes: object) -> bytes:
    """Return a file with nothing but what describes its pixels; 3 x 5 of 16 bits where nothing else is said."""
    dataset = Dataset()
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = VALUES.shape
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 0
    for keyword, changed in changes.items():
        setattr(dataset, keyword, changed)
    dataset.add_new("PixelData", representation, value)
    dataset["PixelData"].is_undefined_length = representation == "OB" and value[:4] == b"\xfe\xff\x00\xe0"
    dataset.preamble = bytes(128)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    pydicom.dcmwrite(
        buffer, dataset, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian, force_encoding=True
    )
    return buffer.getvalue()


def read(content: bytes) -> Stored:
    """Return the first frame of a file."""
    layout = read_layout(scan_file(content, is_whole=True), len(content))
    return decode_frame(layout, memoryview(content)[layout.offset :], 0)


def refuse(content: bytes) -> FileCode:
    """Return why a file is refused."""
    with pytest.raises(FileRejected) as refusal:
        read(content)
    return refusal.value.code


class TestRead:
    @pytest.mark.parametrize(
        "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian], ids=lambda syntax: syntax.name
    )
    @pytest.mark.parametrize("rows", [3, 2], ids=["odd", "even"])
    @pytest.mark.parametrize("representation", ["OB", "OW"])
    @pytest.mark.parametrize("bits", [8, 16])
    def test_pydicom_agrees(self, syntax: UID, rows: int, representation: str, bits: int) -> None:
        value = bytes(range(rows * 5 * bits // 8))
        padded = value + bytes(len(value) % 2)
        content = write(
            padded, syntax, representation, Rows=rows, BitsAllocated=bits, BitsStored=bits, HighBit=bits - 1
        )
        assert np.array_equal(read(content), pydicom.dcmread(io.BytesIO(content)).pixel_array)

    def test_inverted_greys_are_a_matter_of_display(self) -> None:
        content = write(VALUES.tobytes(), ExplicitVRLittleEndian, PhotometricInterpretation="MONOCHROME1")
        assert np.array_equal(read(content), VALUES)

    def test_what_follows_the_pixels_is_not_read(self) -> None:
        assert np.array_equal(read(write(VALUES.tobytes() + bytes(10), ExplicitVRLittleEndian)), VALUES)


class TestRefused:
    @pytest.mark.parametrize("bits", [1, 12, 32, 64])
    def test_cells_of_other_widths(self, bits: int) -> None:
        content = write(bytes(VALUES.size * 8), ExplicitVRLittleEndian, BitsAllocated=bits, BitsStored=min(bits, 16))
        assert refuse(content) is FileCode.PIXELS_UNSUPPORTED

    def test_more_bits_than_their_cells_have(self) -> None:
        assert refuse(write(VALUES.tobytes(), ExplicitVRLittleEndian, BitsStored=17)) is FileCode.PIXELS_UNSUPPORTED

    @pytest.mark.parametrize("length", [0, 2, 28])
    def test_pixels_that_end_early(self, length: int) -> None:
        assert refuse(write(VALUES.tobytes()[:length], ExplicitVRLittleEndian)) is FileCode.PIXELS_TRUNCATED

    def test_compressed_pixels_that_are_said_not_to_be(self) -> None:
        value = wrap(encoding.encode_rle(VALUES))
        content = write(value, UID(encoding.RLE), "OB")
        assert np.array_equal(read(content), VALUES)
        lying = content.replace(encoding.RLE.encode() + b"\0", ExplicitVRLittleEndian.encode() + b"\0")
        assert refuse(lying) is FileCode.UNDECODABLE

    def test_plain_pixels_that_are_said_to_be_compressed(self) -> None:
        content = write(VALUES.tobytes(), ExplicitVRLittleEndian)
        assert refuse(content.replace(ExplicitVRLittleEndian.encode(), encoding.RLE.encode())) is FileCode.UNDECODABLE

    def test_frames_that_begin_in_the_middle_of_a_word(self) -> None:
        content = write(bytes(30), ExplicitVRBigEndian, NumberOfFrames=2, BitsAllocated=8, BitsStored=8, HighBit=7)
        assert refuse(content) is FileCode.PIXELS_UNSUPPORTED


class TestSaidAndWritten:
    @pytest.mark.parametrize("written", [ImplicitVRLittleEndian, ExplicitVRLittleEndian], ids=lambda uid: uid.name)
    def test_a_dataset_is_read_as_it_is_written(self, written: UID) -> None:
        said = ExplicitVRLittleEndian if written.is_implicit_VR else ImplicitVRLittleEndian
        content = write(VALUES.tobytes(), written, ImageType=["ORIGINAL", "PRIMARY"])
        start = scan_file(content, is_whole=True).start
        head = write(VALUES.tobytes(), said, ImageType=["ORIGINAL", "PRIMARY"])
        lying = head[: scan_file(head, is_whole=True).start] + content[start:]
        assert np.array_equal(read(lying), VALUES)

    def test_groups_of_undefined_length_are_seen(self) -> None:
        item = Dataset()
        item.FrameAcquisitionNumber = 1
        content = write(VALUES.tobytes(), ExplicitVRLittleEndian, PerFrameFunctionalGroupsSequence=[item])
        tag = b"\x00\x52\x30\x92SQ\0\0"
        position = content.index(tag) + len(tag)
        length = int.from_bytes(content[position : position + 4], "little")
        end = position + 4 + length
        endless = content[:position] + b"\xff" * 4 + content[position + 4 : end] + b"\xfe\xff\xdd\xe0" + bytes(4)
        scanned = scan_file(endless + content[end:], is_whole=True)
        assert Tag.PerFrameFunctionalGroupsSequence in scanned.attributes
