"""An intake report on a terminal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.file_codes import FILE_CODES, FileCode, FileOutcome
from shared.notices import NOTICES, NoticeCode
from shared.problems import CATALOGUE, ProblemCode
from tests.workers.command.reports import ACCEPTED, EMPTY, REJECTED
from workers.command.inspection import render
from workers.intake.files import FileReport
from workers.intake.report import IntakeReport, NoticeReport, ProblemReport


class Terminal:
    """Shows a report on 250 columns."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def show(self, report: IntakeReport) -> str:
        """Return what is seen."""
        render(report, 0.5)
        return self._capsys.readouterr().out


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("COLUMNS", "250")
    return Terminal(capsys)


class TestAccepted:
    def test_the_choice_is_explained(self, terminal: Terminal) -> None:
        told = terminal.show(ACCEPTED)
        assert told.startswith("accepted")
        assert "best score, 0.900 of 2 candidates" in told
        assert "axial-chest-ct-1" in told
        assert "score 0.400 against 0.900" in told

    def test_geometry_and_voxels_carry_their_units(self, terminal: Terminal) -> None:
        told = terminal.show(ACCEPTED)
        assert "241 x 512 x 512" in told
        assert "1.25 x 0.7 x 0.7 mm" in told
        assert "301 x 358 x 358 mm" in told
        assert "-3024 to 3071, mean -982.25, 77 voxels of padding" in told
        assert "-705 HU" in told
        assert "4321 ml over 251.2 mm, in 83% of the slices" in told

    def test_without_pixels_nothing_is_claimed_about_them(self, terminal: Terminal) -> None:
        assert ACCEPTED.chosen is not None
        chosen = replace(ACCEPTED.chosen, facts={})
        told = terminal.show(replace(ACCEPTED, hu=None, chosen=chosen))
        assert "pixels were not read" in told
        assert "not looked for" in told

    def test_times_are_told_step_by_step(self, terminal: Terminal) -> None:
        assert terminal.show(ACCEPTED).rstrip().endswith("0.50 of them for reading (look 0.10, decode 0.40)")


class TestRejected:
    def test_the_reason_and_what_to_do(self, terminal: Terminal) -> None:
        told = terminal.show(REJECTED)
        assert told.startswith("rejected no_lungs_found")
        assert "12 ml of lung were found." in told
        assert CATALOGUE[ProblemCode.NO_LUNGS_FOUND].advice in told
        assert "refused all the same" in told

    def test_a_bare_refusal_is_short(self, terminal: Terminal) -> None:
        assert len(terminal.show(EMPTY).splitlines()) <= 6

    @pytest.mark.parametrize("code", ProblemCode)
    def test_every_problem_can_be_shown(self, terminal: Terminal, code: ProblemCode) -> None:
        problem = ProblemReport(code, "found [bold]this[/]", {"positions_mm": [1.0, 2.5], "found": "x"})
        told = terminal.show(replace(EMPTY, problem=problem))
        assert str(code) in told
        assert "found [bold]this[/]" in told
        assert "1, 2.5" in told

    def test_objects_stand_in_a_line_each(self, terminal: Terminal) -> None:
        studies = [{"study_instance_uid": uid, "modalities": ["CT", "SR"]} for uid in ("1.1", "1.2")]
        problem = ProblemReport(ProblemCode.MIXED_STUDIES, "The archive holds 2 studies.", {"studies": studies})
        lines = [line.strip() for line in terminal.show(replace(EMPTY, problem=problem)).splitlines()]
        assert "studies             study_instance_uid 1.1, modalities CT, SR" in lines
        assert "study_instance_uid 1.2, modalities CT, SR" in lines

    def test_what_is_empty_takes_no_line(self, terminal: Terminal) -> None:
        (first, *_) = REJECTED.candidates
        bare = replace(first, criteria={}, reason="")
        told = terminal.show(replace(REJECTED, candidates=(bare,), choice_policy=""))
        assert "policy of choice" not in told
        assert not any(line and not line.strip() for line in told.splitlines())

    def test_zero_has_no_sign(self, terminal: Terminal) -> None:
        assert REJECTED.chosen is not None
        told = terminal.show(replace(REJECTED, chosen=replace(REJECTED.chosen, row_direction=(1.0, -0.0, -0.0))))
        assert "(1, 0, 0)" in told


class TestFiles:
    def test_they_are_grouped_by_what_became_of_them(self, terminal: Terminal) -> None:
        told = terminal.show(ACCEPTED)
        assert "2 used  a.dcm, b[red].dcm" in told
        assert "1 ignored: localizer  scout" in told
        assert told.index("2 used") < told.index("1 rejected: pixels_truncated") < told.index("1 ignored")

    def test_a_group_names_its_first_files_and_counts_the_others(self, terminal: Terminal) -> None:
        files = tuple(FileReport(n, f"{n}.txt", 5, FileOutcome.IGNORED, FileCode.NOT_DICOM) for n in range(500))
        told = terminal.show(replace(ACCEPTED, files=files))
        assert "500 ignored: not_dicom  0.txt, 1.txt, 2.txt and 497 more" in told
        assert "3.txt" not in told

    @pytest.mark.parametrize("code", FileCode)
    def test_every_code_is_explained(self, terminal: Terminal, code: FileCode) -> None:
        kind = FILE_CODES[code]
        told = terminal.show(replace(ACCEPTED, files=(FileReport(0, "x", 5, kind.outcome, code),)))
        assert kind.meaning in told
        assert (kind.advice in told) == (kind.outcome is FileOutcome.REJECTED)


class TestWarnings:
    @pytest.mark.parametrize("code", NoticeCode)
    def test_every_code_is_explained(self, terminal: Terminal, code: NoticeCode) -> None:
        told = terminal.show(replace(ACCEPTED, notices=(NoticeReport(str(code), {"files": 3}),)))
        assert f"{code} (files 3)" in told
        assert NOTICES[code].meaning in told

    def test_a_code_that_is_not_in_the_catalogue_is_shown_too(self, terminal: Terminal) -> None:
        assert "of_tomorrow" in terminal.show(ACCEPTED)
