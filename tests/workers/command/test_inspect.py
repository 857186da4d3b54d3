"""`ctclip inspect`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from shared.problems import CATALOGUE, ProblemCode
from workers.command.inspect import command

CHEST = Path(__file__).parents[3] / "deploy" / "demo" / "chest_covid_small.zip"
ABDOMEN = Path(__file__).parents[2] / "golden" / "dicom" / "abdomen_siemens_20.zip"

app = typer.Typer()
app.command()(command)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "300"})
    return result.exit_code, result.output


class TestAccepted:
    def test_json_tells_all(self) -> None:
        status, output = run(str(CHEST), "--json")
        document = json.loads(output)
        assert status == 0
        assert document["outcome"] == "accepted"
        assert document["code"] is None
        assert document["chosen"]["shape_zyx"] == [124, 256, 256]
        assert document["hu"]["sha256_int16_zyx"].startswith("39411ea4")
        assert {"files", "candidates", "warnings", "seconds"} <= document.keys()

    def test_people_see_the_volume_and_the_reason(self) -> None:
        status, output = run(str(CHEST))
        assert status == 0
        assert output.startswith("accepted")
        assert "124 x 256 x 256" in output
        assert "the only series" in output


class TestRefused:
    def test_the_code_is_printed_and_the_status_is_one(self) -> None:
        status, output = run(str(ABDOMEN))
        assert status == 1
        assert output.startswith("refused no_lungs_found")

    def test_json_names_the_problem(self) -> None:
        status, output = run(str(ABDOMEN), "--json")
        document = json.loads(output)
        assert status == 1
        assert (document["outcome"], document["code"]) == ("rejected", "no_lungs_found")
        assert document["chosen"] is None

    def test_the_advice_of_the_catalogue_follows(self) -> None:
        advice = CATALOGUE[ProblemCode.NO_LUNGS_FOUND].advice
        assert advice in " ".join(run(str(ABDOMEN))[1].split())
        assert json.loads(run(str(ABDOMEN), "--json")[1])["advice"] == advice

    @pytest.mark.parametrize("name", ["study.zip", "study.nii.gz", "study"])
    @pytest.mark.parametrize(
        ("content", "code"),
        [(b"", "empty_upload"), (b"no archive", "not_an_archive"), (b"PK\3\4 cut short", "archive_truncated")],
    )
    def test_first_bytes_decide_and_not_the_name(self, tmp_path: Path, name: str, content: bytes, code: str) -> None:
        path = tmp_path / name
        path.write_bytes(content)
        status, output = run(str(path))
        assert status == 1
        assert output.startswith(f"refused {code}")


class TestNoFile:
    def test_a_folder_is_told_apart_with_what_to_do(self, tmp_path: Path) -> None:
        status, output = run(str(tmp_path))
        assert status == 2
        assert "is a folder" in output
        assert "ZIP" in output

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        status, output = run(str(tmp_path / "absent.zip"))
        assert status == 2
        assert "is not there" in output
