"""`ctclip inspect`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import imagecodecs
import pytest
import typer
from typer.testing import CliRunner, Result

from shared.problems import CATALOGUE, ProblemCode
from workers.command.inspect import command

CHEST = Path(__file__).parents[3] / "deploy" / "demo" / "chest_covid_small.zip"
GOLDEN = Path(__file__).parents[2] / "golden" / "dicom"
ABDOMEN = GOLDEN / "abdomen_siemens_20.zip"

app = typer.Typer()
app.command()(command)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "300"})


def read_json(*arguments: object) -> tuple[int, dict[str, Any]]:
    """Return the exit status and the document on standard output."""
    result = run(*arguments, "--json")
    document: dict[str, Any] = json.loads(result.stdout)
    return result.exit_code, document


@pytest.fixture(scope="module")
def chest_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled chest, unpacked into two folders, with a text beside it."""
    folder = tmp_path_factory.mktemp("study")
    with zipfile.ZipFile(CHEST) as archive:
        for position, entry in enumerate(archive.infolist()):
            place = folder / f"part{position % 2}" / f"{position}"
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(archive.read(entry))
    (folder / "notes.txt").write_text("seen")
    return folder


class TestAccepted:
    def test_json_tells_all(self) -> None:
        status, document = read_json(CHEST)
        assert status == 0
        assert (document["outcome"], document["code"]) == ("accepted", None)
        assert document["chosen"]["shape_zyx"] == [124, 256, 256]
        assert document["chosen"]["spacing_zyx_mm"] == pytest.approx([2.5, 1.40625, 1.40625], abs=1e-6)
        assert document["hu"]["sha256_int16_zyx"].startswith("39411ea4")
        assert {file["outcome"] for file in document["files"]} == {"used"}
        assert document["candidates"][0]["is_chosen"]

    def test_people_see_the_volume_and_the_reason(self) -> None:
        result = run(CHEST)
        assert result.exit_code == 0
        assert result.stdout.startswith("accepted")
        assert "124 x 256 x 256" in result.stdout
        assert "the only series" in result.stdout

    def test_a_folder_gives_the_volume_of_its_archive(self, chest_folder: Path) -> None:
        status, document = read_json(chest_folder)
        assert status == 0
        assert document["hu"]["sha256_int16_zyx"].startswith("39411ea4")
        assert [file["code"] for file in document["files"] if file["outcome"] == "ignored"] == ["not_dicom"]


class TestLimits:
    NEEDED = ("DATABASE_URL", "BROKER_URL", "STORAGE_ENDPOINT", "STORAGE_ACCESS_KEY", "STORAGE_SECRET_KEY")

    def inspect(self, **limits: str) -> subprocess.CompletedProcess[str]:
        """Run the command beside the settings of an installation, in a process of its own: settings are read once."""
        code = "import sys; from client.command import main; sys.argv[0] = 'ctclip'; main()"
        environment = {f"CTCLIP_{name}": "http://127.0.0.1:1" for name in self.NEEDED} | limits
        return subprocess.run(
            [sys.executable, "-c", code, "inspect", str(CHEST), "--headers-only"],
            env=os.environ | environment, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    def test_those_of_the_operator_hold(self) -> None:
        done = self.inspect(CTCLIP_ARCHIVE_LIMIT_ENTRIES="10")
        assert done.returncode == 3, done.stderr
        assert "archive_too_many_entries" in done.stdout

    def test_settings_that_cannot_be_used_are_a_usage_error(self) -> None:
        done = self.inspect(CTCLIP_ARCHIVE_LIMIT_ENTRIES="many")
        assert (done.returncode, done.stderr) == (2, "The CTCLIP_* settings cannot be used.\n")


class TestHeadersOnly:
    def test_a_series_is_chosen_without_its_pixels(self) -> None:
        status, document = read_json(CHEST, "--headers-only")
        assert status == 0
        assert document["hu"] is None
        assert document["chosen"]["shape_zyx"] == [124, 256, 256]
        assert document["chosen"]["origin_lps_mm"] == pytest.approx([-171.648438, -156.148438, -19.875], abs=1e-6)

    def test_voxels_need_the_pixels(self) -> None:
        result = run(CHEST, "--headers-only", "--voxel", "1,2,3")
        assert result.exit_code == 2
        assert "--headers-only" in result.stderr


class TestSeries:
    def test_the_series_named_is_read(self) -> None:
        _, document = read_json(CHEST, "--headers-only")
        uid = document["chosen"]["series_uid"]
        status, document = read_json(CHEST, "--headers-only", "--series", uid)
        assert status == 0
        assert document["chosen"]["series_uid"] == uid

    def test_one_that_is_not_there_is_refused(self) -> None:
        status, document = read_json(CHEST, "--headers-only", "--series", "1.2.3")
        assert (status, document["code"], document["chosen"]) == (3, "series_not_found", None)


class TestVoxels:
    @pytest.mark.parametrize(
        "arguments",
        [
            ("--voxel", "117,160,175", "--voxel", "111,148,198", CHEST),
            ("--voxel", "117,160,175", "111,148,198", CHEST),
        ],
    )
    def test_several_can_be_asked_for(self, arguments: tuple[object, ...]) -> None:
        _, document = read_json(*arguments)
        assert document["hu"]["voxels"] == [{"zyx": [117, 160, 175], "hu": -765}, {"zyx": [111, 148, 198], "hu": 18}]

    @pytest.mark.parametrize("voxel", ["124,0,0", "0,0,999999999999999999999"])
    def test_one_outside_is_a_usage_error_that_names_the_shape(self, voxel: str) -> None:
        result = run(CHEST, "--json", "--voxel", voxel)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert "124,256,256" in result.stderr

    @pytest.mark.parametrize("voxel", ["1,2", "1,2,3,4", "a,b,c", "-1,2,3", "1.5,2,3", "1;2;3", "٣,1,1"])
    def test_what_is_no_index_is_a_usage_error(self, voxel: str) -> None:
        result = run(CHEST, "--voxel", voxel)
        assert result.exit_code == 2
        assert "--voxel" in result.stderr


class TestThumbnail:
    def test_a_picture_is_written(self, tmp_path: Path) -> None:
        assert run(CHEST, "--thumbnail", tmp_path / "out.png").exit_code == 0
        assert imagecodecs.png_decode((tmp_path / "out.png").read_bytes()).shape[1] == 1000

    def test_also_of_a_refused_study(self, tmp_path: Path) -> None:
        assert run(ABDOMEN, "--thumbnail", tmp_path / "out.png").exit_code == 3
        assert imagecodecs.png_decode((tmp_path / "out.png").read_bytes()).any()

    def test_headers_alone_need_only_a_few_slices_for_it(self, tmp_path: Path) -> None:
        status, document = read_json(CHEST, "--headers-only", "--thumbnail", tmp_path / "out.png")
        assert (status, document["hu"]) == (0, None)
        assert imagecodecs.png_decode((tmp_path / "out.png").read_bytes()).shape == (750, 1000)

    def test_a_study_without_a_volume_has_none_and_says_so(self, tmp_path: Path) -> None:
        result = run(GOLDEN / "sagittal_reformat_4.zip", "--thumbnail", tmp_path / "out.png")
        assert result.exit_code == 3
        assert "out.png was not written" in result.stderr
        assert not (tmp_path / "out.png").exists()

    def test_where_nothing_can_be_written_nothing_is_read(self, tmp_path: Path) -> None:
        result = run(tmp_path / "study.zip", "--thumbnail", tmp_path / "absent" / "out.png")
        assert result.exit_code == 2


class TestRefused:
    def test_the_code_is_printed(self) -> None:
        result = run(ABDOMEN)
        assert result.exit_code == 3
        assert result.stdout.startswith("rejected no_lungs_found")
        assert CATALOGUE[ProblemCode.NO_LUNGS_FOUND].advice in result.stdout

    def test_json_describes_the_volume_all_the_same(self) -> None:
        status, document = read_json(ABDOMEN, "--voxel", "18,320,350")
        assert (status, document["outcome"], document["code"]) == (3, "rejected", "no_lungs_found")
        assert document["chosen"]["shape_zyx"] == [20, 512, 512]
        assert document["hu"]["sha256_int16_zyx"].startswith("0d9f62d8")
        assert document["hu"]["voxels"] == [{"zyx": [18, 320, 350], "hu": 61}]

    def test_reformats_have_no_volume(self) -> None:
        status, document = read_json(GOLDEN / "sagittal_reformat_4.zip")
        assert (status, document["code"]) == (3, "no_usable_series")
        assert (document["chosen"], document["hu"]) == (None, None)

    @pytest.mark.parametrize(
        ("name", "content", "code"),
        [
            ("study.zip", b"", "empty_upload"),
            ("study.zip", b"no archive", "not_an_archive"),
            ("study.nii.gz", b"PK\3\4 cut short", "archive_truncated"),
        ],
    )
    def test_first_bytes_decide_and_not_the_name(self, tmp_path: Path, name: str, content: bytes, code: str) -> None:
        path = tmp_path / name
        path.write_bytes(content)
        result = run(path)
        assert result.exit_code == 3
        assert result.stdout.startswith(f"rejected {code}")

    def test_a_single_dicom_file_is_told_to_come_with_its_study(self) -> None:
        status, document = read_json(GOLDEN / "CT_small.dcm")
        assert (status, document["code"]) == (3, "not_an_archive")
        assert "single DICOM file" in document["detail"]
        assert "folder" in document["detail"]

    def test_a_foreign_format_is_named_as_the_platform_names_it(self, tmp_path: Path) -> None:
        (tmp_path / "study.zip").write_bytes(b"Rar!\x1a\x07\x01\x00")
        status, document = read_json(tmp_path / "study.zip")
        assert (status, document["code"], document["facts"]) == (3, "not_an_archive", {"found": "rar"})
        assert "RAR archive" in document["detail"]

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        status, document = read_json(tmp_path)
        assert (status, document["code"]) == (3, "no_dicom_images")


class TestUsage:
    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.zip")
        result = run(tmp_path / "pipe.zip")
        assert result.exit_code == 2
        assert "is a pipe" in result.stderr

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        result = run(tmp_path / "absent.zip")
        assert result.exit_code == 2
        assert "is not there" in result.stderr

    def test_one_study_at_a_time(self) -> None:
        assert run(CHEST, ABDOMEN).exit_code == 2

    def test_a_study_must_be_named(self) -> None:
        assert run("--voxel", "1,2,3", "4,5,6").exit_code == 2
