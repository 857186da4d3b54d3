"""`ctclip policies`: a site learns what is wrong with its policy before control does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from model_weights.policies import read_policy
from tests.workers.ct_clip.converting import DOCUMENT, convert
from tests.workers.ct_clip.tiny import make_state
from workers.command.policies import ADVICE, app

POLICY = 'name = "own"\nversion = "1"\nthreshold = 0.5\nminimum_models = 1\n'
TEXTS = '[[finding_texts]]\nname = "Stent"\n[[finding_texts]]\nname = "long"\npresent = "' + "lung " * 20 + 'lung"\n'


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"CTCLIP_POLICIES_DIR": "", "CTCLIP_WEIGHTS_PROFILE": "none"})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "own.toml"
    path.write_text(POLICY + TEXTS)
    return path


class TestList:
    def test_shows_what_comes_with_the_platform(self) -> None:
        done = run("list")
        assert done.exit_code == 0
        assert [line.split("-")[0] for line in done.stdout.splitlines()] == ["default", "skeleton"]

    def test_shows_those_of_the_site_too(self, file: Path) -> None:
        done = run("list", "--policies-dir", str(file.parent), "--json")
        assert json.loads(done.stdout)["policies"][-1] == read_policy(file).to_document()

    def test_of_a_folder_with_a_wrong_policy_names_it(self, file: Path) -> None:
        file.write_text("name = 1")
        done = run("list", "--policies-dir", str(file.parent))
        assert done.exit_code == 2
        assert done.stderr.startswith("own.toml: ")


class TestCheck:
    def test_of_a_sound_policy_names_its_id(self, file: Path) -> None:
        done = run("check", str(file))
        assert done.exit_code == 0
        assert done.stdout.startswith(read_policy(file).id)
        assert "2 finding texts" in done.stdout
        assert "No CT-CLIP is installed here" in done.stdout

    def test_holds_the_texts_against_the_installed_model(self, file: Path) -> None:
        convert(file.parent, make_state(), {**DOCUMENT, "labels": ["Pneumonia"]})
        done = run("check", str(file), "--profile", "full", "--weights-dir", str(file.parent / "weights"))
        assert done.exit_code == 1
        assert "Stent: can be asked for" in done.stdout
        assert f"long: {ADVICE['too_long']}" in done.stdout

    def test_tells_a_program_the_same(self, file: Path) -> None:
        convert(file.parent, make_state(), {**DOCUMENT, "labels": ["Pneumonia"]})
        weights = ("--profile", "full", "--weights-dir", str(file.parent / "weights"))
        found = json.loads(run("check", str(file), *weights, "--json").stdout)
        assert (found["model"], found["faults"]) == ("ct-clip", {"long": "too_long"})
        assert found["policy"] == read_policy(file).to_document()

    def test_of_a_wrong_policy_says_what_to_change(self, file: Path) -> None:
        file.write_text(POLICY + '[[finding_texts]]\nname = "Stent"\nabsent = "Нет стента."\n')
        done = run("check", str(file))
        assert done.exit_code == 2
        assert "write `absent` in English" in done.stderr

    def test_refuses_the_name_of_a_shipped_one(self, file: Path) -> None:
        file.write_text(POLICY.replace('"own"', '"default"'))
        done = run("check", str(file))
        assert done.exit_code == 2
        assert "give yours another name" in done.stderr
