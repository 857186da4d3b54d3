"""`ctclip prepare`: which files it packs, what it takes away of them, and that the same images give the same bytes."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from typer.testing import CliRunner, Result

from client.command import app
from client.preparation.deidentification import _ACTIONS, Action, Pseudonyms, choose_action, deidentify
from client.preparation.packing import pack, plan_studies
from client.preparation.scanning import Image, look_at

MARK = "Musterfrau"
PSEUDONYMS = Pseudonyms(b"a key of sixteen bytes at least")
KEPT = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "RescaleSlope",
    "ConvolutionKernel",
    "PixelData",
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory, phantom_zip: Path) -> Path:
    """Two studies of a few slices in one tree, with what else lies in such trees."""
    folder = tmp_path_factory.mktemp("tree")
    for patient in ("patient 1", "patient 2"):
        (folder / patient).mkdir()
    with zipfile.ZipFile(phantom_zip) as archive:
        for name in archive.namelist()[:5]:
            content = archive.read(name)
            (folder / "patient 1" / Path(name).name).write_bytes(content)
            (folder / "patient 2" / Path(name).name).write_bytes(rename(content))
    (folder / "readme.txt").write_text("no DICOM")
    (folder / "copy.dcm").write_bytes(next((folder / "patient 1").iterdir()).read_bytes())
    (folder / "report.dcm").write_bytes(change(tree_file(folder), SOPClassUID="1.2.840.10008.5.1.4.1.1.88.67"))
    return folder


def rename(content: bytes) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(content))
    names = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    return change(content, **{name: PSEUDONYMS.rename_uid(str(dataset[name].value)) for name in names})


def tree_file(folder: Path) -> bytes:
    return sorted((folder / "patient 2").iterdir())[0].read_bytes()


def change(content: bytes, **attributes: object) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(content))
    for name, value in attributes.items():
        setattr(dataset, name, value)
    written = io.BytesIO()
    dataset.save_as(written)
    return written.getvalue()


class TestPacking:
    def test_makes_one_archive_for_each_study_and_counts_what_it_leaves_out(self, tree: Path, tmp_path: Path) -> None:
        done = json.loads(self._run(tree, tmp_path / "out").stdout)
        assert [study["images"] for study in done["studies"]] in ([6, 5], [5, 6])
        assert {study["state"] for study in done["studies"]} == {"written"}
        assert done["left_out"] == {"not_dicom": 1, "not_ct": 1, "duplicate": 1}
        for study in done["studies"]:
            with zipfile.ZipFile(study["path"]) as archive:
                assert archive.namelist() == [f"001/{number:05d}.dcm" for number in range(1, 6)]
                assert archive.testzip() is None

    def test_gives_the_same_bytes_whatever_the_files_are_called(self, tree: Path, tmp_path: Path) -> None:
        for number, path in enumerate(sorted((tree / "patient 1").iterdir(), reverse=True)):
            (tmp_path / f"{number}").write_bytes(path.read_bytes())
        first, second = (self._pack(self._look(folder), tmp_path) for folder in (tree / "patient 1", tmp_path))
        assert first == second

    def test_reads_each_file_whole_only_once(self, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        read: list[str] = []
        whole = Path.read_bytes

        def count(path: Path) -> bytes:
            read.append(path.name)
            return whole(path)

        monkeypatch.setattr(Path, "read_bytes", count)
        self._run(tree, tmp_path / "out")
        assert len(read) == 11  # ten slices, and the copy of one of them

    def test_shows_a_table_and_writes_nothing_in_a_dry_run(self, tree: Path, tmp_path: Path) -> None:
        arguments = [
            "prepare",
            "--input-dir",
            str(tree),
            "--output-dir",
            str(tmp_path / "out"),
            "--dry-run",
            "--workers",
            "1",
        ]
        done = CliRunner().invoke(app, arguments, env={"COLUMNS": "120"})
        assert done.exit_code == 0, done.output
        assert done.stdout.count("planned") == 2
        assert not (tmp_path / "out").exists()

    def test_leaves_archives_that_are_there_unless_told(self, tree: Path, tmp_path: Path) -> None:
        self._run(tree, tmp_path)
        states = [
            {study["state"] for study in json.loads(self._run(tree, tmp_path, *told).stdout)["studies"]}
            for told in ((), ("--overwrite",))
        ]
        assert states == [{"exists"}, {"written"}]

    def test_says_what_a_folder_without_images_holds(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("no DICOM")
        done = self._run(tmp_path, tmp_path / "out")
        assert done.exit_code == 1
        assert "1 not dicom" in done.stderr

    def test_never_takes_a_path_from_a_file(self, tmp_path: Path) -> None:
        image = Image("../../etc/passwd", "1.2", "1.2.3", tmp_path / "a", 1, has_burned_in_text=False)
        (plan,) = plan_studies([image], tmp_path / "out", None)
        assert plan.output.parent == tmp_path / "out"

    def _run(self, tree: Path, output: Path, *options: str) -> Result:
        arguments = [
            "prepare",
            "--input-dir",
            str(tree),
            "--output-dir",
            str(output),
            "--workers",
            "1",
            "--json",
            *options,
        ]
        return CliRunner().invoke(app, arguments)

    def _look(self, folder: Path) -> list[Image]:
        found = [look_at(path) for path in folder.iterdir() if path.is_file()]
        return [image for image in found if isinstance(image, Image)]

    def _pack(self, images: list[Image], folder: Path) -> bytes:
        (plan,) = plan_studies(images, folder, None)
        pack(plan)
        return plan.output.read_bytes()


class TestDeidentification:
    def test_takes_the_patient_away_wherever_it_stands_and_keeps_what_models_read(self, tree: Path) -> None:
        before = pydicom.dcmread(io.BytesIO(self._mark(tree_file(tree))))
        written = deidentify(self._mark(tree_file(tree)), PSEUDONYMS)
        after = pydicom.dcmread(io.BytesIO(written))
        assert MARK.encode() not in written
        assert all(after[name].value == before[name].value for name in KEPT)
        assert not [element for element in after.iterall() if element.tag.is_private]
        assert after.PatientIdentityRemoved == "YES"
        assert after.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
        assert after.StudyDate == after.PatientName == ""
        assert after.preamble == bytes(128)

    def test_takes_away_every_text_that_the_table_names_at_every_depth(self, tree: Path) -> None:
        everything = Dataset()
        for tag in filter(dictionary_has_tag, _ACTIONS):
            if dictionary_VR(tag) in {"LO", "SH", "ST", "LT", "PN", "UT", "UC"}:
                everything.add_new(tag, dictionary_VR(tag), MARK)
        outer = Dataset()
        outer.SharedFunctionalGroupsSequence = Sequence([everything])
        marked = change(
            tree_file(tree),
            SourceImageSequence=Sequence([outer]),
            PerFrameFunctionalGroupsSequence=Sequence([everything]),
        )
        assert len(everything) > 200
        assert marked.count(MARK.encode()) == 2 * len(everything)
        assert MARK.encode() not in deidentify(marked, PSEUDONYMS)

    def test_renames_uids_alike_in_every_place(self, tree: Path) -> None:
        after = pydicom.dcmread(io.BytesIO(deidentify(self._mark(tree_file(tree)), PSEUDONYMS)))
        before = pydicom.dcmread(io.BytesIO(tree_file(tree)))
        assert after.SOPInstanceUID == after.file_meta.MediaStorageSOPInstanceUID != before.SOPInstanceUID
        assert after.SourceImageSequence[0].ReferencedSOPInstanceUID == after.SOPInstanceUID
        assert after.SourceImageSequence[0].ReferencedSOPClassUID == before.SOPClassUID
        assert after.SOPClassUID == before.SOPClassUID

    def test_takes_away_what_the_table_is_silent_on_and_tells_the_patient(self, tree: Path) -> None:
        before = pydicom.dcmread(io.BytesIO(tree_file(tree)))
        linked = {"SOPInstanceUIDOfConcatenationSource": before.SOPInstanceUID, "ContextUID": "1.2.840.10008.6.1.1"}
        told = {
            "EvaluatorName": MARK,
            "StudyUpdateDateTime": "20260301100000",
            "PatientBirthDateInAlternativeCalendar": "1390-01-01",
            "CommentsOnTheScheduledProcedureStep": MARK,
            "AssertionComments": MARK,
            "RetrieveURL": f"https://pacs.example.org/studies/{MARK}",
        }
        written = deidentify(change(tree_file(tree), **linked, **told), PSEUDONYMS)
        after = pydicom.dcmread(io.BytesIO(written))
        assert before.SOPInstanceUID.encode() not in written
        assert after.SOPInstanceUIDOfConcatenationSource == after.SOPInstanceUID
        assert after.ContextUID == linked["ContextUID"]
        assert not [name for name in told if name in after]

    def test_gives_the_same_bytes_with_the_same_key_only(self, tree: Path) -> None:
        content = tree_file(tree)
        assert deidentify(content, PSEUDONYMS) == deidentify(content, PSEUDONYMS)
        assert deidentify(content, PSEUDONYMS) != deidentify(content, Pseudonyms(b"another key"))

    @pytest.mark.parametrize("flag", ["YES", ["YES", "NO"], "Y"])
    def test_leaves_images_with_burned_in_text_out(self, tree: Path, tmp_path: Path, flag: object) -> None:
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "a.dcm").write_bytes(change(tree_file(tree), BurnedInAnnotation=flag))
        key = tmp_path / "key"
        arguments = ["prepare", "--input-dir", str(tmp_path / "in"), "--output-dir", str(tmp_path / "out")]
        done = CliRunner().invoke(app, [*arguments, "--workers", "1", "--deidentify", "--key-file", str(key)])
        assert done.exit_code == 1
        assert "1 burned in annotation" in done.stderr
        assert (key.stat().st_mode & 0o777, len(key.read_text())) == (0o600, 64)

    def test_refuses_a_key_that_is_too_short(self, tmp_path: Path) -> None:
        (tmp_path / "key").write_text("short")
        arguments = ["prepare", "--input-dir", str(tmp_path), "--output-dir", str(tmp_path / "out"), "--deidentify"]
        assert CliRunner().invoke(app, [*arguments, "--key-file", str(tmp_path / "key")]).exit_code == 2

    @given(st.text(max_size=64))
    def test_makes_uids_that_dicom_takes(self, uid: str) -> None:
        assert pydicom.uid.UID(PSEUDONYMS.rename_uid(uid)).is_valid

    @pytest.mark.parametrize(
        ("keyword", "action"),
        [
            ("PatientName", Action.EMPTY),
            ("PatientID", Action.REPLACE),
            ("PatientAge", Action.REMOVE),
            ("StudyInstanceUID", Action.RENAME),
            ("SeriesDescription", Action.REMOVE),
            ("ImagePositionPatient", Action.GO_ON),
        ],
    )
    def test_follows_the_table_of_the_standard(self, keyword: str, action: Action) -> None:
        assert choose_action(Tag(keyword)) is action

    @pytest.mark.parametrize(
        "tag",
        [
            *(0x60003000, 0x601E3000, 0x50100010, 0x00091001, 0x00081FFE),
            *(0x00402006, 0x00401006, 0x00401007, 0x00380016, 0x00080409, 0x00081190, 0x0040E010),
        ],
    )
    def test_takes_overlays_curves_numbers_of_orders_addresses_and_what_is_private_or_unknown_away(
        self, tag: int
    ) -> None:
        assert choose_action(Tag(tag)) is Action.REMOVE

    def _mark(self, content: bytes) -> bytes:
        source = Dataset()
        dataset = pydicom.dcmread(io.BytesIO(content))
        source.ReferencedSOPInstanceUID, source.ReferencedSOPClassUID = dataset.SOPInstanceUID, dataset.SOPClassUID
        source.PatientComments = MARK
        dataset.SourceImageSequence = Sequence([source])
        dataset.PatientID = dataset.PatientName = dataset.OperatorsName = dataset.InstitutionName = MARK
        dataset.StudyDescription = dataset.SeriesDescription = dataset.ImageComments = dataset.ProtocolName = MARK
        dataset.add_new(0x00091010, "LO", MARK)
        dataset.add_new(0x60003000, "OW", MARK.encode())
        dataset.file_meta.SourceApplicationEntityTitle = MARK
        dataset.preamble = MARK.encode().ljust(128, b"\0")
        written = io.BytesIO()
        dataset.save_as(written)
        return written.getvalue()
