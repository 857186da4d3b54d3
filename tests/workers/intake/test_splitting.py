"""Archives of several studies: what is told of them, and that reading them study by study loses and doubles nothing."""

from __future__ import annotations

from collections import Counter
from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from shared.planning import MOST_SPLIT_STUDIES
from shared.problems import ProblemCode
from tests.hostile.packing import Files, edit, pack, read, unpack
from workers.intake.files import FileCode, FileOutcome
from workers.intake.report import IntakeReport, ProblemReport
from workers.intake.splitting import split_studies

OTHER_UID = "1.2.826.0.9"


@pytest.fixture(scope="module")
def good_files(phantom_zip: Path) -> Files:
    return unpack(phantom_zip)


@pytest.fixture(scope="module")
def own_uid(good_files: Files) -> str:
    return read_uid(good_files)


def read_uid(files: Files) -> str:
    content = next(content for name, content in files.items() if name.endswith(".dcm"))
    return str(pydicom.dcmread(BytesIO(content), stop_before_pixels=True).StudyInstanceUID)


def move(files: Files, study_uid: str, **attributes: str) -> Files:
    """Return the same images as those of another study."""

    def change(dataset: pydicom.Dataset) -> None:
        dataset.StudyInstanceUID = study_uid
        dataset.SeriesInstanceUID = f"{study_uid}.1"
        dataset.SOPInstanceUID = f"{study_uid}.1.{dataset.InstanceNumber}"
        for name, value in attributes.items():
            setattr(dataset, name, value)

    return Files({f"{study_uid}/{name}": content for name, content in edit(files, change).items()})


class TestAnArchiveOfTwoStudies:
    def test_is_refused_with_what_each_of_them_holds(self, tmp_path: Path, good_files: Files, own_uid: str) -> None:
        magnetic = move(Files(dict(list(good_files.items())[:3])), OTHER_UID, Modality="MR", PatientName="Doe^Jane")
        report = read(pack({**good_files, **magnetic}), tmp_path).report
        assert report.problem is not None
        assert report.problem.code is ProblemCode.MIXED_STUDIES
        assert report.problem.detail == "The archive holds 2 studies of 1 patient."
        told = {study["study_instance_uid"]: study for study in report.problem.facts["studies"]}
        count = len(good_files)
        assert told[own_uid] == {
            "study_instance_uid": own_uid, "slices": count, "files": count, "modalities": ["CT"],
        }  # fmt: skip
        assert (told[OTHER_UID]["slices"], told[OTHER_UID]["files"]) == (0, 3)
        assert told[OTHER_UID]["modalities"] == ["MR"]
        assert "Doe" not in repr(report)

    def test_is_read_study_by_study_as_if_each_had_come_alone(
        self, tmp_path: Path, good_files: Files, own_uid: str
    ) -> None:
        both = pack({**good_files, **move(good_files, OTHER_UID)})
        alone = read(pack(good_files), tmp_path).report
        for uid in (own_uid, OTHER_UID):
            report = read(both, tmp_path, study_uid=uid).report
            assert report.problem is None
            assert report.hu == alone.hu
            assert report.chosen is not None
            assert report.chosen.study_uid == uid

    def test_leaves_each_file_to_one_of_them(self, tmp_path: Path, good_files: Files, own_uid: str) -> None:
        both = pack({**good_files, **move(good_files, OTHER_UID)})
        used: Counter[int] = Counter()
        for uid in (own_uid, OTHER_UID):
            files = read(both, tmp_path, study_uid=uid).report.files
            assert [file.ordinal for file in files] == list(range(2 * len(good_files)))
            used.update(file.ordinal for file in files if file.outcome is FileOutcome.USED)
            others = [file for file in files if file.code is FileCode.OTHER_STUDY]
            assert len(others) == len(good_files)
        assert set(used.values()) == {1}
        assert len(used) == 2 * len(good_files)

    def test_tells_nothing_of_one_by_the_files_of_the_other(self, tmp_path: Path, good_files: Files) -> None:
        magnetic = move(good_files, OTHER_UID, Modality="MR")
        broken = edit(good_files, flatten)
        report = read(pack({**broken, **magnetic}), tmp_path, study_uid=OTHER_UID).report
        assert report.problem is not None
        assert (report.problem.code, report.problem.facts) == (ProblemCode.WRONG_MODALITY, {"found": ["MR"]})

    def test_counts_the_files_that_belong_to_none(self, tmp_path: Path, good_files: Files) -> None:
        mixed = {**good_files, **move(Files(dict(list(good_files.items())[:2])), "1.2.3")}
        mixed |= edit(Files({f"x/{name}": content for name, content in good_files.items()}), forget_study)
        report = read(pack(mixed), tmp_path).report
        assert report.problem is not None
        assert report.problem.facts["files_without_study"] == len(good_files)


def flatten(dataset: pydicom.Dataset) -> None:
    dataset.PixelSpacing = [0, 0]


def forget_study(dataset: pydicom.Dataset) -> None:
    del dataset.StudyInstanceUID


def make_report(*uids: str) -> IntakeReport:
    return IntakeReport(None, (), (), (), None, None, {}, study_uids=uids)


def make_problem(**facts: object) -> ProblemReport:
    return ProblemReport(ProblemCode.MIXED_STUDIES, "The archive holds several studies.", facts)


class TestASplit:
    def test_names_every_study(self) -> None:
        split = split_studies(make_report("1.2", "1.3"), make_problem(patients=1))
        assert split.study_uids == ("1.2", "1.3")
        assert split.problem.facts == {"patients": 1}

    def test_is_no_answer_to_another_problem(self) -> None:
        problem = ProblemReport(ProblemCode.NO_LUNGS_FOUND, "None.")
        assert split_studies(make_report("1.2", "1.3"), problem).study_uids == ()

    @pytest.mark.parametrize(
        ("uids", "facts", "reason"),
        [
            (("1.2",), {"patients": 2}, "the patients share one StudyInstanceUID"),
            (("1.2", "1.3"), {"files_without_study": 4}, "some files name no StudyInstanceUID"),
            (("1.2", "1.3 <script>"), {}, "a StudyInstanceUID is no UID"),
            (("1.2", "1" * 65), {}, "a StudyInstanceUID is no UID"),
            (tuple(f"1.{number}" for number in range(MOST_SPLIT_STUDIES + 1)), {}, "101 studies are more than 100"),
        ],
    )
    def test_that_would_lose_something_is_not_made_and_says_why(
        self, uids: tuple[str, ...], facts: dict[str, object], reason: str
    ) -> None:
        split = split_studies(make_report(*uids), make_problem(**facts))
        assert split.study_uids == ()
        assert split.problem.detail == f"The archive holds several studies. It was not split: {reason}."
