"""The corpus: every row has its cases, every code exists, and the same seed writes the same bytes."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from client.acceptance.manifest import read_manifest
from phantom.corpus.case import Case, Outcome
from phantom.corpus.chest import FULL, SMALL, Chest
from phantom.corpus.command import corpus, tell
from phantom.corpus.manifest import MANIFEST, get_file_name, write_case, write_corpus
from phantom.corpus.raw_zip import iterate_empty_entries
from phantom.corpus.registry import CASES, LEFT_OUT, choose_cases
from shared.file_codes import FileCode
from shared.notices import NoticeCode
from shared.problems import CATALOGUE, ProblemCode

FEW = ("B1-empty-body", "B5-right", "B16-lzma", "B40-other-body")

app = typer.Typer()
app.command()(corpus)


@pytest.fixture(scope="module")
def chest() -> Chest:
    return Chest(7, SMALL)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.output


class TestTheRegistry:
    def test_has_a_case_or_a_reason_for_every_row(self) -> None:
        rows = {case.row for case in CASES.values()} | {what.split()[0] for what in LEFT_OUT}
        assert rows == {f"B{number}" for number in range(1, 41)} | {"G"}

    def test_chooses_by_row_and_by_id(self) -> None:
        assert [case.id for case in choose_cases(["B8", "G-plain"])] == ["B8-twins", "B8-quoted", "G-plain"]

    def test_refuses_a_name_that_is_neither(self) -> None:
        with pytest.raises(ValueError, match="B99"):
            choose_cases(["B99"])

    @pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.id)
    def test_expects_codes_that_exist(self, case: Case) -> None:
        expected = case.expected
        assert set(expected.files) <= set(FileCode)
        assert {*expected.warnings, *expected.without_warnings} <= set(NoticeCode)
        if expected.code is not None:
            code = ProblemCode(expected.code)
            assert expected.outcome is not Outcome.REFUSED or CATALOGUE[code].status == expected.status
        assert (expected.code is None) or expected.outcome is not Outcome.ACCEPTED

    @pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.id)
    def test_sends_before_a_case_only_what_is_a_case(self, case: Case) -> None:
        assert case.sending.before is None or case.sending.before in CASES


class TestWriting:
    @pytest.mark.parametrize("case_id", FEW)
    def test_the_same_seed_gives_the_same_bytes(self, chest: Chest, tmp_path: Path, case_id: str) -> None:
        first = write_case(CASES[case_id], chest, tmp_path / "first")
        second = write_case(CASES[case_id], Chest(7, SMALL), tmp_path / "second")
        assert first == second
        assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()

    def test_a_case_is_written_with_the_one_that_it_needs_before(self, chest: Chest, tmp_path: Path) -> None:
        write_corpus(tmp_path, [CASES["B40-other-body"]], chest)
        assert {path.name for path in tmp_path.iterdir()} == {"B40-other-body.zip", "G-plain.zip", MANIFEST}

    def test_what_is_written_is_what_the_client_reads(self, chest: Chest, tmp_path: Path) -> None:
        write_corpus(tmp_path, [CASES[name] for name in FEW], chest)
        manifest = read_manifest(tmp_path)
        assert set(manifest.cases) == {*FEW, "G-plain"}
        assert manifest.limits["archive_bytes"] == SMALL.archive_bytes
        digest = manifest.cases["B5-right"].send.headers["Content-Digest"]
        assert digest.startswith("sha-256=:")
        assert manifest.cases["B5-right"].expected.volume == {
            "shape_zyx": list(chest.study.hu.shape),
            "spacing_zyx_mm": list(chest.study.spacing_zyx_mm),
            "hu": {
                "min": int(chest.study.hu.min()),
                "max": int(chest.study.hu.max()),
                "mean": float(chest.study.hu.mean()),
            },
        }

    def test_no_file_name_needs_a_careful_file_system(self) -> None:
        names = [get_file_name(case) for case in CASES.values()]
        assert len({name.casefold() for name in names}) == len(names)
        assert all(name.isascii() and "/" not in name for name in names)


class TestLargeCases:
    def test_many_entries_are_a_sound_archive(self) -> None:
        with zipfile.ZipFile(io.BytesIO(b"".join(iterate_empty_entries(70_000)))) as archive:
            assert len(archive.namelist()) == 70_000
            assert archive.testzip() is None

    def test_full_scale_never_holds_what_it_writes(self) -> None:
        made = CASES["B10-many"].make(Chest(7, FULL))
        assert isinstance(made, Iterator)
        assert len(next(made)) < 1 << 20


class TestCommand:
    def test_writes_and_tells_how_to_send_it(self, tmp_path: Path) -> None:
        code, output = run("-o", str(tmp_path / "out"), "--only", "B16-lzma", "--scale", "small")
        assert code == 0
        assert (tmp_path / "out" / "B16-lzma.zip").is_file()
        assert "ctclip acceptance run" in output
        assert "B39" not in output

    def test_of_the_whole_corpus_tells_what_is_left_out(self, tmp_path: Path) -> None:
        assert "Not in it: B39" in tell(tmp_path, 195, is_whole=True)

    def test_json_is_the_manifest(self, tmp_path: Path) -> None:
        code, output = run("-o", str(tmp_path), "--only", "B1", "--scale", "small", "--json")
        assert code == 0
        assert json.loads(output) == json.loads((tmp_path / MANIFEST).read_text())

    @pytest.mark.parametrize("arguments", [("--only", "B99"), ("--scale", "huge")])
    def test_wrong_choices_are_usage_errors(self, tmp_path: Path, arguments: tuple[str, str]) -> None:
        assert run("-o", str(tmp_path), *arguments)[0] == 2
