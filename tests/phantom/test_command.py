"""`ctclip phantom` as a user types it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from phantom.command import phantom
from phantom.study import FINDINGS

app = typer.Typer()
app.command()(phantom)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.output


class TestPhantomCommand:
    def test_it_writes_the_zip_and_prints_the_ground_truth(self, tmp_path: Path) -> None:
        path = tmp_path / "study.zip"
        code, output = run("--seed", "7", "--finding", "mass", "--finding", "emphysema", "--coarse", "-o", str(path))
        assert code == 0
        assert "mass: severity" in output
        assert zipfile.is_zipfile(path)

    def test_json_says_what_was_written(self, tmp_path: Path) -> None:
        path = tmp_path / "study.zip"
        code, output = run("--seed", "7", "--finding", "nodule", "--coarse", "--json", "-o", str(path))
        document = json.loads(output)
        assert code == 0
        assert document["seed"] == 7
        assert document["findings"][0]["name"] == "nodule"
        with zipfile.ZipFile(path) as archive:
            assert len(archive.namelist()) == document["shape_zyx"][0]

    def test_the_gantry_leans_as_asked(self, tmp_path: Path) -> None:
        asked = ("--coarse", "--tilt", "-7.5", "-o", str(tmp_path / "study.zip"))
        assert json.loads(run(*asked, "--json")[1])["gantry_tilt_degrees"] == -7.5
        assert "gantry tilted by -7.5 degrees" in run(*asked)[1]

    @pytest.mark.parametrize("option", ["--tilt", "--look-alikes"])
    def test_what_is_no_number_is_a_usage_error(self, tmp_path: Path, option: str) -> None:
        code, output = run("--coarse", option, "nan", "-o", str(tmp_path / "study.zip"))
        assert code == 2
        assert option in output

    @pytest.mark.parametrize("flags", [("--list",), ("--list", "--json")], ids=str)
    def test_the_list_names_every_finding(self, flags: tuple[str, ...]) -> None:
        code, output = run(*flags)
        assert code == 0
        assert all(name in output for name in FINDINGS)

    def test_an_unknown_finding_is_a_usage_error(self, tmp_path: Path) -> None:
        code, output = run("--finding", "dragon", "--coarse", "-o", str(tmp_path / "study.zip"))
        assert code == 2
        assert "dragon" in output
        assert not (tmp_path / "study.zip").exists()

    @pytest.mark.parametrize("place", ["missing/study.zip", "."])
    def test_a_place_that_cannot_be_written_is_a_usage_error(self, tmp_path: Path, place: str) -> None:
        code, output = run("--coarse", "-o", str(tmp_path / place))
        assert code == 2
        assert "--output" in output
