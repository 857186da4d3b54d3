"""`ctclip inspect`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from workers.command.inspect import command

CHEST = Path(__file__).parents[3] / "deploy" / "demo" / "chest_covid_small.zip"
ABDOMEN = Path(__file__).parents[2] / "golden" / "dicom" / "abdomen_siemens_20.zip"

app = typer.Typer()
app.command()(command)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
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

    @pytest.mark.parametrize("content", [b"", b"no archive"])
    def test_anything_else_is_refused(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "study.zip"
        path.write_bytes(content)
        assert run(str(path))[0] == 1
