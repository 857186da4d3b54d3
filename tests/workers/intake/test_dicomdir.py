"""What a DICOMDIR lists, and what of it is absent."""

from __future__ import annotations

import io
import struct

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from workers.intake.dicomdir import find_absent, read_referenced_files


def make_dicomdir(*file_ids: list[str]) -> bytes:
    """Return a DICOMDIR with a record for each file, as pydicom writes it."""
    directory = Dataset()
    directory.file_meta = FileMetaDataset()
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    directory.FileSetID = "DISC"
    directory.DirectoryRecordSequence = []
    for file_id in file_ids:
        record = Dataset()
        record.DirectoryRecordType = "IMAGE"
        record.ReferencedFileID = file_id
        directory.DirectoryRecordSequence.append(record)
    written = io.BytesIO()
    pydicom.dcmwrite(written, directory, enforce_file_format=True)
    return written.getvalue()


class TestReading:
    def test_every_reference_is_found(self) -> None:
        content = make_dicomdir(["DICOM", "IM000001"], ["DICOM", "ST0", "IM000002"], ["README"])
        assert read_referenced_files(content) == {("DICOM", "IM000001"), ("DICOM", "ST0", "IM000002"), ("README",)}

    def test_implicit_encoding_is_read_too(self) -> None:
        value = b"DICOM\\IM1 "
        assert read_referenced_files(b"\x04\x00\x00\x15" + struct.pack("<I", len(value)) + value) == {("DICOM", "IM1")}

    @given(st.binary(max_size=300))
    def test_bytes_of_any_kind_are_passed_over(self, content: bytes) -> None:
        read_referenced_files(content)
        read_referenced_files(b"\x04\x00\x00\x15CS" + content)

    @given(st.data())
    def test_a_damaged_dicomdir_gives_at_most_what_it_listed_or_less(self, data: st.DataObject) -> None:
        content = make_dicomdir(["A", "B1"], ["A", "B2"])
        end = data.draw(st.integers(0, len(content)))
        assert read_referenced_files(content[:end]) <= {("A", "B1"), ("A", "B2")}

    @pytest.mark.parametrize("value", [b"..\\..\\ETC\\PASSWD", b"A\x00B\\C ", b"\\\\\\\\", b"A" * 65 + b" "])
    def test_what_is_no_file_id_is_ignored(self, value: bytes) -> None:
        assert read_referenced_files(b"\x04\x00\x00\x15CS" + struct.pack("<H", len(value)) + value) == frozenset()

    def test_many_references_take_no_long_time(self) -> None:
        one = b"\x04\x00\x00\x15CS" + struct.pack("<H", 4)
        content = b"".join(one + b"%04d" % number for number in range(10_000)) * 20
        assert len(read_referenced_files(content)) == 10_000


class TestAbsence:
    REFERENCED = frozenset({("DICOM", "IM1"), ("DICOM", "IM2")})

    def test_all_are_there(self) -> None:
        assert find_absent(self.REFERENCED, ["DICOMDIR", "DICOM/IM1", "DICOM/IM2"]) == ()

    def test_folders_case_and_endings_do_not_matter(self) -> None:
        assert find_absent(self.REFERENCED, ["disc one/dicom/im1.dcm", "disc one\\dicom\\IM2.;1"]) == ()

    def test_the_absent_one_is_named(self) -> None:
        assert find_absent(self.REFERENCED, ["DICOM/IM1", "OTHER/IM2"]) == ("DICOM/IM2",)

    def test_nothing_listed_is_nothing_absent(self) -> None:
        assert find_absent(frozenset(), ["DICOM/IM1"]) == ()
