"""Bad archives: each ends with its own code, in bounded memory, and nothing is written by a name of theirs."""

from __future__ import annotations

import gzip
import io
import random
import stat
import struct
import tarfile
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.byte_units import MIB
from tests.hostile.open_files import few_open_files
from tests.hostile.packing import Files, RawEntry, deflate, edit, get_code, honest, pack, pack_raw, read
from workers.intake.files import FileCode, FileOutcome
from workers.intake.limits import LONGEST_NAME, IntakeLimits

SMALL = IntakeLimits(archive_bytes=16 * MIB, archive_entries=500)

CHANGES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8)


class TestExpansion:
    def test_a_flat_bomb_is_refused_before_it_is_unpacked(self, tmp_path: Path) -> None:
        bomb = pack({"a.dcm": bytes(64 * MIB)}, method=zipfile.ZIP_DEFLATED)
        assert get_code(bomb, tmp_path, limits=SMALL) == "archive_expands_too_far"

    def test_a_size_that_lies_is_caught_while_unpacking_in_little_memory(self, tmp_path: Path) -> None:
        bomb = pack_raw(honest(b"a.dcm", bytes(256 * MIB), declared=1024))
        tracemalloc.start()
        code = get_code(bomb, tmp_path, limits=SMALL)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert code == "archive_expands_too_far"
        assert peak < 8 * MIB

    def test_many_small_entries_share_one_budget(self, tmp_path: Path) -> None:
        bomb = pack({f"{n}.txt": bytes(MIB) for n in range(20)}, method=zipfile.ZIP_DEFLATED)
        assert get_code(bomb, tmp_path, limits=SMALL) == "archive_expands_too_far"

    def test_a_blank_slice_is_no_bomb(self, tmp_path: Path, good_files: Files) -> None:
        files = {**good_files, "note.txt": bytes(MIB)}
        assert get_code(pack(files, method=zipfile.ZIP_DEFLATED), tmp_path) is None


class TestDirectory:
    def test_too_many_entries(self, tmp_path: Path) -> None:
        archive = pack({f"{n}": b"" for n in range(501)})
        assert get_code(archive, tmp_path, limits=SMALL) == "archive_too_many_entries"

    def test_more_entries_than_the_end_record_counts(self, tmp_path: Path) -> None:
        archive = bytearray(pack({f"{n}": b"" for n in range(501)}))
        archive[-14:-10] = b"\x01\x00\x01\x00"
        assert get_code(bytes(archive), tmp_path, limits=SMALL) == "archive_too_many_entries"

    def test_two_entries_on_the_same_bytes(self, tmp_path: Path) -> None:
        entry = honest(b"a.dcm", b"x" * 100)
        twin = RawEntry(b"a.dcm", b"", declared=100, crc32=entry.crc32, offset=0)
        assert get_code(pack_raw(entry, twin), tmp_path) == "archive_overlapping_entries"

    def test_an_entry_that_quotes_the_next_one(self, tmp_path: Path) -> None:
        inner = honest(b"b", b"y" * 10)
        quoted = pack_raw(inner)[: 30 + 1 + len(inner.stored)]
        outer = RawEntry(b"a", quoted, method=0, declared=len(quoted))
        overlap = RawEntry(b"b", b"", crc32=inner.crc32, declared=10, offset=31)
        assert get_code(pack_raw(outer, overlap), tmp_path) == "archive_overlapping_entries"

    @pytest.mark.parametrize(
        "name", ["../../etc/x", "a/../../x", "/etc/x", "C:/x", "c:x", "..\\x", "a\\b", "\\\\host\\x"]
    )
    def test_a_name_that_points_elsewhere(self, tmp_path: Path, name: str) -> None:
        archive = pack_raw(honest(name.encode(), b"x"))
        assert get_code(archive, tmp_path) == "archive_unsafe_path"
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
    def test_a_link_or_a_device(self, tmp_path: Path, kind: int) -> None:
        archive = pack_raw(honest(b"link", b"/etc/passwd", mode=kind | 0o777))
        assert get_code(archive, tmp_path) == "archive_link_entry"

    @pytest.mark.parametrize(("flags", "method"), [(1, 8), (0x40, 8), (0x2000, 8), (0, 99)])
    def test_an_encrypted_entry(self, tmp_path: Path, flags: int, method: int) -> None:
        archive = pack_raw(honest(b"a", b"x", flags=flags, method=method))
        assert get_code(archive, tmp_path) == "archive_encrypted"

    @pytest.mark.parametrize(
        ("method", "name"), [(9, "deflate64"), (12, "bzip2"), (14, "lzma"), (93, "zstandard"), (98, "ppmd")]
    )
    def test_an_unsupported_method_is_named(self, tmp_path: Path, method: int, name: str) -> None:
        problem = read(pack_raw(honest(b"a", b"x", method=method)), tmp_path).report.problem
        assert problem is not None
        assert problem.code == "archive_method_unsupported"
        assert problem.facts == {"method": name}

    def test_bytes_before_the_archive(self, tmp_path: Path) -> None:
        archive = pack_raw(honest(b"a", b"x"))
        assert get_code(b"MZ" + bytes(100) + archive, tmp_path) == "archive_corrupt"

    def test_a_local_header_that_names_another_file(self, tmp_path: Path) -> None:
        archive = pack_raw(honest(b"a", b"x", local_name=b"b"))
        assert get_code(archive, tmp_path) == "archive_corrupt"

    def test_no_bytes_at_all(self, tmp_path: Path) -> None:
        assert get_code(b"", tmp_path) == "archive_truncated"

    def test_an_archive_without_entries(self, tmp_path: Path) -> None:
        assert get_code(pack({}), tmp_path) == "no_dicom_images"

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
    def test_an_archive_cut_short(self, tmp_path: Path, good_files: Files, share: float) -> None:
        archive = pack(good_files)
        assert get_code(archive[: int(len(archive) * share)], tmp_path) == "archive_truncated"


class TestNesting:
    @pytest.mark.parametrize("magic", [b"Rar!\x1a\x07\x01\x00", b"7z\xbc\xaf\x27\x1c", b"\x1f\x8b\x08\x00"])
    def test_foreign_archives_inside(self, tmp_path: Path, magic: bytes) -> None:
        assert get_code(pack({"study": magic + bytes(100)}), tmp_path) == "archive_nested"

    def test_a_zip_inside(self, tmp_path: Path, good_files: Files) -> None:
        assert get_code(pack({"study.zip": pack(good_files)}), tmp_path) == "archive_nested"

    def test_a_zip_inside_is_opened_where_an_operator_allows_it(self, tmp_path: Path, good_files: Files) -> None:
        names = list(good_files)
        some = {name: good_files[name] for name in names[::2]}
        others = {name: good_files[name] for name in names[1::2]}
        archive = pack({"first.zip": pack(some), "second.zip": pack(others), "note.txt": b"x"})
        report = read(archive, tmp_path, limits=replace(IntakeLimits(), archive_depth=1)).report
        assert report.is_accepted
        assert report.hu == read(pack(good_files), tmp_path).report.hu
        assert len({file.ordinal for file in report.files}) == len(good_files) + 3
        assert {file.name for file in report.files if file.code is FileCode.NESTED_ARCHIVE} == {
            "first.zip",
            "second.zip",
        }

    def test_more_archives_inside_than_files_may_be_open(self, tmp_path: Path, good_files: Files) -> None:
        archive = pack({f"{number}.zip": pack({name: good_files[name]}) for number, name in enumerate(good_files)})
        with few_open_files(8):
            report = read(archive, tmp_path, limits=replace(IntakeLimits(), archive_depth=1)).report
        assert report.is_accepted

    def test_two_levels_are_refused_even_so(self, tmp_path: Path, good_files: Files) -> None:
        archive = pack({"outer.zip": pack({"inner.zip": pack(good_files)})})
        assert get_code(archive, tmp_path, limits=replace(IntakeLimits(), archive_depth=1)) == "archive_nested"

    def test_archives_inside_share_the_budgets_of_the_whole(self, tmp_path: Path) -> None:
        limits = replace(SMALL, archive_depth=1)
        bomb = pack({"blank.bin": bytes(9 * MIB)}, method=zipfile.ZIP_DEFLATED)
        assert get_code(pack({"a.zip": bomb, "b.zip": bomb}), tmp_path, limits=limits) == "archive_expands_too_far"
        many = pack({f"{number}.txt": b"" for number in range(300)})
        problem = read(pack({"a.zip": many, "b.zip": many}), tmp_path, limits=limits).report.problem
        assert problem is not None
        assert problem.code == "archive_too_many_entries"
        assert problem.facts == {"limit_entries": 500}

    def test_a_tar_inside(self, tmp_path: Path) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("a"))
        assert get_code(pack({"study.tar": buffer.getvalue()}), tmp_path) == "archive_nested"

    def test_an_office_document_is_only_junk(self, tmp_path: Path, good_files: Files) -> None:
        files = {**good_files, "report.docx": pack({"word/document.xml": b"<xml/>"})}
        assert get_code(pack(files), tmp_path) is None


class TestHonestOddities:
    def test_zip64_and_data_descriptors_are_read(self, tmp_path: Path, good_files: Files) -> None:
        class OneWay(io.RawIOBase):
            def __init__(self) -> None:
                self.written = bytearray()

            def writable(self) -> bool:
                return True

            def write(self, piece: bytes) -> int:  # type: ignore[override]  # as zipfile calls it
                self.written += piece
                return len(piece)

        stream = OneWay()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in good_files.items():
                with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as entry:
                    entry.write(content)
        assert get_code(bytes(stream.written), tmp_path) is None

    def test_zip64_records_behind_fields_that_would_have_sufficed(
        self, tmp_path: Path, good_files: Files, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Python writes such archives between 2 and 4 GiB."""
        monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)
        content = pack(good_files)
        assert b"PK\x06\x07" in content
        assert get_code(content, tmp_path) is None
        places = content.rindex(b"PK\x05\x06") + 12  # length of the directory in the old record
        lying = content[:places] + (1).to_bytes(4, "little") + content[places + 4 :]
        assert get_code(lying, tmp_path) == "archive_corrupt"

    def test_a_comment_at_the_end(self, tmp_path: Path, good_files: Files) -> None:
        buffer = io.BytesIO(pack(good_files))
        with zipfile.ZipFile(buffer, "a") as archive:
            archive.comment = b"made by a packer " * 100
        assert get_code(buffer.getvalue(), tmp_path) is None

    def test_a_comment_that_looks_like_an_end(self, tmp_path: Path, good_files: Files) -> None:
        buffer = io.BytesIO(pack(good_files))
        with zipfile.ZipFile(buffer, "a") as archive:
            archive.comment = b"PK\x05\x06 begins the last record of a ZIP, which takes 22 bytes or more"
        assert get_code(buffer.getvalue(), tmp_path) is None

    def test_a_compressed_nifti_beside_the_images_is_no_archive(self, tmp_path: Path, good_files: Files) -> None:
        header = struct.pack("<i", 348) + bytes(340) + b"n+1\0" + bytes(200)
        report = read(pack({**good_files, "mask.nii.gz": gzip.compress(header)}), tmp_path).report
        assert report.is_accepted
        assert [file.code for file in report.files if file.name == "mask.nii.gz"] == [FileCode.NOT_DICOM]

    def test_junk_is_noted_and_ignored(self, tmp_path: Path, good_files: Files) -> None:
        junk = {"__MACOSX/._a": b"x", ".DS_Store": b"x", "Thumbs.db": b"x", "DICOMDIR": b"x", "report.pdf": b"%PDF-1.7"}
        report = read(pack({**junk, **good_files}), tmp_path).report
        assert report.is_accepted
        others = {file.name: file.code for file in report.files if file.outcome is FileOutcome.IGNORED}
        assert others == {
            "__MACOSX/._a": FileCode.JUNK,
            ".DS_Store": FileCode.JUNK,
            "Thumbs.db": FileCode.JUNK,
            "DICOMDIR": FileCode.DICOMDIR,
            "report.pdf": FileCode.NOT_DICOM,
        }

    @pytest.mark.parametrize(
        "name",
        [b"nul\x00.dcm", b"bell\x07.dcm", "a\u202egpj.dcm".encode(), b"\xff\xfe.dcm", b"x" * 60_000, b"\xed\xa0\x80"],
    )
    def test_strange_names_are_escaped_and_the_study_is_read(
        self, tmp_path: Path, good_files: Files, name: bytes
    ) -> None:
        first, *others = good_files.values()
        entries = [honest(name, first, flags=0x800), *(honest(b"%d" % n, one) for n, one in enumerate(others))]
        report = read(pack_raw(*entries), tmp_path).report
        assert report.is_accepted
        shown = report.files[0].name
        assert len(shown) <= LONGEST_NAME
        assert shown.isprintable()

    def test_a_large_object_that_does_not_compress_is_sound(self, tmp_path: Path, good_files: Files) -> None:
        def change(dataset: pydicom.Dataset) -> None:
            del dataset.PixelData
            dataset.add_new(0x00420011, "OB", random.Random(1).randbytes(2 * MIB))

        (name, content), *_ = good_files.items()
        (pdf,) = edit(Files({name: content}), change).values()
        report = read(pack({**good_files, "report.dcm": pdf}, method=zipfile.ZIP_DEFLATED), tmp_path).report
        assert [file.code for file in report.files if file.name == "report.dcm"] == [FileCode.NOT_AN_IMAGE]

    def test_a_study_with_its_copies_is_read_within_the_limit_of_its_size(
        self, tmp_path: Path, good_files: Files
    ) -> None:
        files = {**good_files, **{f"copy/{name}": content for name, content in good_files.items()}}
        limits = IntakeLimits(archive_bytes=sum(map(len, files.values())))
        assert get_code(pack(files), tmp_path, limits=limits) is None

    def test_equal_names_are_both_read(self, tmp_path: Path, good_files: Files) -> None:
        archive = pack_raw(*(honest(b"same.dcm", content) for content in good_files.values()))
        report = read(archive, tmp_path).report
        assert report.is_accepted
        assert len(report.files) == len(good_files)


class TestDamagedEntries:
    def test_one_slice_with_a_wrong_checksum_is_replaced_between_its_neighbours(
        self, tmp_path: Path, good_files: Files
    ) -> None:
        entries = [honest(name.encode(), content) for name, content in good_files.items()]
        middle = len(entries) // 2
        name, content = list(good_files.items())[middle]
        entries[middle] = honest(name.encode(), content, crc32=1)
        whole = read(pack(good_files), tmp_path)
        damaged = read(pack_raw(*entries), tmp_path)
        assert damaged.report.is_accepted
        assert damaged.report.files[middle].code is FileCode.CRC_MISMATCH
        assert {"slices_interpolated", "files_rejected"} <= {notice.code for notice in damaged.report.notices}
        assert damaged.volume is not None
        assert whole.volume is not None
        assert damaged.volume.hu.shape == whole.volume.hu.shape

    def test_many_damaged_slices_leave_the_series_incomplete(self, tmp_path: Path, good_files: Files) -> None:
        entries = [honest(name.encode(), content) for name, content in good_files.items()]
        for position in range(10, 40, 2):
            entry = entries[position]
            entries[position] = RawEntry(entry.name, b"\xff" * 20, declared=entry.declared, crc32=entry.crc32)
        assert get_code(pack_raw(*entries), tmp_path) == "series_incomplete"

    def test_content_shorter_than_declared(self, tmp_path: Path) -> None:
        archive = pack_raw(RawEntry(b"a.dcm", deflate(b"x" * 10), declared=20))
        (file,) = read(archive, tmp_path).report.files
        assert file.code is FileCode.ENTRY_DAMAGED


class TestFuzz:
    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(CHANGES)
    def test_no_change_of_bytes_does_more_than_refuse(
        self, tmp_path: Path, good_files: Files, changes: list[tuple[float, int]]
    ) -> None:
        few = dict(list(good_files.items())[:3])
        archive = bytearray(pack(few, method=zipfile.ZIP_DEFLATED))
        for place, value in changes:
            archive[int(place * (len(archive) - 1))] = value
        assert read(bytes(archive), tmp_path).report.problem is not None
