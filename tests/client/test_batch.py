"""`ctclip batch` without a platform: what it remembers, what it writes, and what it does when nothing answers."""

from __future__ import annotations

import asyncio
import csv
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow.parquet
import pytest
from typer.testing import CliRunner, Result

from client.asynchronous import AsyncClient
from client.batch.journal import JournalRefused, open_journal
from client.batch.outcomes import Outcome, describe_failure, describe_result, describe_unfinished
from client.batch.progress import QuietProgress
from client.batch.running import Batch, list_outcomes, run_batch
from client.batch.sheets import CONTRACT, make_sheets
from client.batch.studies import Study, find_studies
from client.batch.writing import write_sheets
from client.command import app
from client.documents import Job, Problem
from client.errors import ClientError
from client.results import StudyResult
from tests.client.tiny_api import Answer, job_document, problem, serving

RESULT: dict[str, Any] = {
    "study_uid": "1.2",
    "series_uid": "1.2.3",
    "probability_of_pathology": 0.83,
    "pathology": 1,
    "most_dangerous_pathology_type": "Pleural effusion",
    "processing_status": "Success",
    "time_of_processing": 3.5,
    "completeness": {"answered": 1, "expected": 2, "missing": [{"model": "fvlm", "reason": "model_not_installed"}]},
    "threshold": 0.59,
    "findings": [{"finding": "mass", "name": "Mass", "models": {"mednext": 0.9}, "attribution": 1.2}],
    "quality": [{"code": "slice_gap", "facts": {}}],
}
COLUMNS = [
    *("path_to_study", "study_uid", "series_uid", "probability_of_pathology", "pathology"),
    *("processing_status", "time_of_processing", "most_dangerous_pathology_type"),
]


def make_study(folder: Path, name: str = "a.zip") -> Study:
    path = folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(b"PK")
    (study,) = [study for study in find_studies(folder) if study.path == path]
    return study


def make_success(study: Study, **changed: object) -> Outcome:
    job = Job.parse(job_document("completed", created_at="2026-01-01T00:00:00Z", finished_at="2026-01-01T00:00:04Z"))
    return describe_result(study, job, StudyResult.parse({**RESULT, **changed}))


def make_failure(study: Study) -> Outcome:
    return describe_failure(study, Problem("slice_gap", "A gap", "at 7 mm", None, {"advice": "Send all."}))


class TestStudies:
    def test_are_the_archives_and_volumes_of_the_tree_without_what_is_hidden(self, tmp_path: Path) -> None:
        for name in ("b.ZIP", "deep/er/a.zip", "c.nii", "d.nii.gz", "._b.zip", ".trash/e.zip", "f.txt"):
            make = tmp_path / name
            make.parent.mkdir(parents=True, exist_ok=True)
            make.write_bytes(b"")
        assert [study.name for study in find_studies(tmp_path)] == ["b.ZIP", "c.nii", "d.nii.gz", "deep/er/a.zip"]


class TestJournal:
    def test_remembers_keys_jobs_and_outcomes(self, tmp_path: Path) -> None:
        first, second = make_study(tmp_path, "a.zip"), make_study(tmp_path, "b.zip")
        with open_journal(tmp_path / "journal", {}) as journal:
            journal.plan([first, second])
            journal.note_job(first, "job-1")
            journal.note_outcome(first, make_success(first))
            keys = [journal.get(study).key for study in (first, second)]
        with open_journal(tmp_path / "journal", {}) as journal:
            journal.plan([first, second])
            assert [journal.get(study).key for study in (first, second)] == keys
            assert journal.get(first).job_id == "job-1"
            assert journal.get(first).outcome == make_success(first)
            assert journal.get(second).outcome is None

    @pytest.mark.parametrize("kept", range(1, 60, 7))
    def test_that_a_death_cut_short_is_read_up_to_its_last_whole_line(self, tmp_path: Path, kept: int) -> None:
        study = make_study(tmp_path)
        path = tmp_path / "journal"
        with open_journal(path, {}) as journal:
            journal.plan([study])
            key, whole = journal.get(study).key, path.stat().st_size
            journal.note_job(study, "job-1")
        os.truncate(path, whole + kept)
        with open_journal(path, {}) as journal:
            assert (journal.get(study).key, journal.get(study).job_id) == (key, None)
            journal.note_job(study, "job-2")
        with open_journal(path, {}) as journal:
            assert journal.get(study).job_id == "job-2"

    def test_gives_a_new_key_to_a_file_that_has_changed(self, tmp_path: Path) -> None:
        study = make_study(tmp_path)
        with open_journal(tmp_path / "journal", {}) as journal:
            journal.plan([study])
            key = journal.get(study).key
            journal.note_job(study, "job-1")
            journal.plan([replace(study, size_bytes=study.size_bytes + 1)])
            assert journal.get(study).key != key
            assert journal.get(study).job_id is None

    def test_is_written_by_one_batch_at_a_time(self, tmp_path: Path) -> None:
        with (
            open_journal(tmp_path / "journal", {}),
            pytest.raises(JournalRefused, match="Another batch"),
            open_journal(tmp_path / "journal", {}),
        ):
            pass

    def test_is_forgotten_only_by_whoever_holds_it(self, tmp_path: Path) -> None:
        path, study = tmp_path / "journal", make_study(tmp_path)
        with open_journal(path, {"models": "mednext"}) as journal:
            journal.plan([study])
            kept = path.read_bytes()
            with pytest.raises(JournalRefused, match="Another batch"), open_journal(path, {}, is_fresh=True):
                pass
            assert path.read_bytes() == kept
            key = journal.get(study).key
        with open_journal(path, {}, is_fresh=True) as journal:
            journal.plan([study])
            assert journal.get(study).key != key

    def test_of_other_options_is_refused(self, tmp_path: Path) -> None:
        with open_journal(tmp_path / "journal", {"models": "mednext"}):
            pass
        with pytest.raises(JournalRefused, match="--fresh"), open_journal(tmp_path / "journal", {}):
            pass


class TestSheets:
    def test_begin_with_the_columns_of_the_contract(self, tmp_path: Path) -> None:
        assert [column.name for column in CONTRACT] == COLUMNS
        study = make_study(tmp_path)
        rows = self._write(tmp_path, [make_success(study), make_failure(study), describe_unfinished(study)])
        header, success, failure, unfinished = rows["studies"]
        assert list(header[:8]) == COLUMNS
        assert success[:8] == (str(study.path), "1.2", "1.2.3", 0.83, 1, "Success", 3.5, "Pleural effusion")
        assert failure[3:8] == (None, None, "Failure", None, None)
        assert unfinished[header.index("problem_code")] == "not_finished"

    def test_tell_findings_by_model_and_all_that_was_odd(self, tmp_path: Path) -> None:
        study = make_study(tmp_path)
        rows = self._write(tmp_path, [make_success(study), make_failure(study)])
        found = dict(zip(*rows["findings"], strict=True))
        assert (found["finding"], found["probability_mednext"], found["attribution"]) == ("mass", 0.9, 1.2)
        kinds = {(row[2], row[3]) for row in rows["problems"][1:]}
        assert kinds == {("warning", "slice_gap"), ("model_missing", "model_not_installed"), ("problem", "slice_gap")}

    def test_hold_names_as_text_whatever_they_begin_with_or_contain(self, tmp_path: Path) -> None:
        name = "=HYPERLINK(1)\x07\udcff"
        outcome = make_success(make_study(tmp_path), most_dangerous_pathology_type=name)
        path = tmp_path / "sheet.xlsx"
        write_sheets(make_sheets([outcome]), path)
        cell = openpyxl.load_workbook(path)["studies"]["H2"]
        assert (cell.value, cell.data_type) == ("=HYPERLINK(1)\\x07\\udcff", "s")

    def test_are_written_as_csv_beside_each_other(self, tmp_path: Path) -> None:
        outcome = make_success(make_study(tmp_path), most_dangerous_pathology_type="=1+1")
        files = write_sheets(make_sheets([outcome]), tmp_path / "sheet.csv")
        assert [file.name for file in files] == ["sheet.csv", "sheet.findings.csv", "sheet.problems.csv"]
        with files[0].open(encoding="utf-8-sig", newline="") as file:
            (row,) = csv.DictReader(file)
        assert (row["probability_of_pathology"], row["most_dangerous_pathology_type"]) == ("0.83", "'=1+1")

    def test_are_written_as_parquet_with_types_even_where_nothing_is_known(self, tmp_path: Path) -> None:
        files = write_sheets(make_sheets([make_failure(make_study(tmp_path))]), tmp_path / "sheet.parquet")
        table = pyarrow.parquet.read_table(files[0])
        assert table.column_names[:8] == COLUMNS
        assert str(table.schema.field("probability_of_pathology").type) == "double"
        assert table.num_rows == 1

    def test_leave_the_old_file_when_they_cannot_be_written(self, tmp_path: Path) -> None:
        path = tmp_path / "sheet.csv"
        path.write_text("old")
        broken = replace(make_success(make_study(tmp_path)), row={"path_to_study": _Unprintable()})
        with pytest.raises(ZeroDivisionError):
            write_sheets(make_sheets([broken]), path)
        assert path.read_text() == "old"
        assert not list(tmp_path.glob(".sheet*"))

    def _write(self, folder: Path, outcomes: list[Outcome]) -> Mapping[str, list[tuple[Any, ...]]]:
        write_sheets(make_sheets(outcomes), folder / "sheet.xlsx")
        book = openpyxl.load_workbook(folder / "sheet.xlsx")
        return {name: list(book[name].iter_rows(values_only=True)) for name in ("studies", "findings", "problems")}


class _Unprintable:
    def __str__(self) -> str:
        raise ZeroDivisionError


class TestRunning:
    @pytest.mark.parametrize(
        "code", ["checksum_mismatch", "upload_interrupted", "upload_busy", "idempotency_key_in_flight"]
    )
    def test_leaves_a_study_that_did_not_get_through_to_the_next_run(self, tmp_path: Path, code: str) -> None:
        studies = [make_study(tmp_path / "in", name) for name in ("a.zip", "b.zip")]
        with (
            serving(problem(409, code), problem(415, "not_an_archive")) as api,
            open_journal(tmp_path / "journal", {}) as journal,
        ):
            assert self._run(api.url, Batch(studies, journal, concurrency=1)) == ["not_finished", "not_an_archive"]
            assert self._run(api.url, Batch(studies, journal, concurrency=1)) == ["not_an_archive", "not_an_archive"]
        first, _, again = (request.headers["Idempotency-Key"] for request in api.requests)
        assert again == first

    def _run(self, url: str, batch: Batch) -> list[str | None]:
        async def run() -> ClientError | None:
            async with AsyncClient(url, retry_limit_s=0) as api:
                return await run_batch(api, batch, QuietProgress())

        assert asyncio.run(run()) is None
        return [outcome.problem_code for outcome in list_outcomes(batch)]


class TestCommand:
    def test_writes_a_row_for_a_study_that_is_refused(self, tmp_path: Path) -> None:
        make_study(tmp_path / "in")
        with serving(problem(415, "not_an_archive")) as api:
            done = self._run(tmp_path, api.url)
        assert done.exit_code == 1, done.output
        assert json.loads(done.stdout)["without_result"] == {"not_an_archive": 1}
        assert self._read_codes(tmp_path) == ["not_an_archive"]

    def test_keeps_rows_for_all_and_says_try_again_when_nothing_answers(self, tmp_path: Path) -> None:
        make_study(tmp_path / "in", "a.zip")
        make_study(tmp_path / "in", "b.zip")
        done = self._run(tmp_path, "http://127.0.0.1:9")
        assert done.exit_code == 75
        assert "it goes on" in done.stderr
        assert self._read_codes(tmp_path) == ["not_finished", "not_finished"]

    def test_writes_a_row_for_a_file_that_cannot_be_opened(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "a.zip").symlink_to(tmp_path / "nowhere.zip")
        done = self._run(tmp_path, "http://127.0.0.1:9")
        assert done.exit_code == 75
        assert self._read_codes(tmp_path) == ["file_unreadable"]

    def test_begins_nothing_anew_while_another_runs(self, tmp_path: Path) -> None:
        make_study(tmp_path / "in")
        with open_journal(tmp_path / "out.csv.journal", {}):
            done = self._run(tmp_path, "http://127.0.0.1:9", "--fresh")
        assert done.exit_code == 2
        assert "Another batch" in done.stderr

    @pytest.mark.parametrize(
        ("option", "value"), [("--api-key", "a b"), ("--api-url", "http://127.0.0.1:PORT")], ids=["key", "url"]
    )
    def test_refuses_what_is_no_key_and_no_address(self, tmp_path: Path, option: str, value: str) -> None:
        make_study(tmp_path / "in")
        done = self._run(tmp_path, "http://127.0.0.1:9", option, value)
        assert done.exit_code == 2
        assert option in done.stderr
        assert not (tmp_path / "out.csv.journal").exists()

    def test_stops_at_once_when_the_key_is_refused(self, tmp_path: Path) -> None:
        for name in ("a.zip", "b.zip", "c.zip"):
            make_study(tmp_path / "in", name)
        with serving(problem(401, "unauthorised")) as api:
            done = self._run(tmp_path, api.url, "--concurrency", "1", "--api-key", "ck_wrong")
        assert done.exit_code == 77
        assert [request.headers["Authorization"] for request in api.requests] == ["Bearer ck_wrong"]

    def test_goes_on_with_the_jobs_that_it_has(self, tmp_path: Path) -> None:
        study = make_study(tmp_path / "in")
        with open_journal(tmp_path / "out.csv.journal", {}) as journal:
            journal.plan([study])
            journal.note_job(study, "job-1")
        with serving(
            Answer(200, job_document("completed")), Answer(200, job_document("completed")), Answer(200, RESULT)
        ) as api:
            done = self._run(tmp_path, api.url)
        assert done.exit_code == 0, done.output
        assert {request.method for request in api.requests} == {"GET"}

    def test_submits_again_what_the_platform_does_not_know_any_more(self, tmp_path: Path) -> None:
        study = make_study(tmp_path / "in")
        with open_journal(tmp_path / "out.csv.journal", {}) as journal:
            journal.plan([study])
            key = journal.get(study).key
            journal.note_job(study, "job-0")
        answers = (
            problem(404, "job_not_found"),
            Answer(202, job_document("queued")),
            Answer(200, job_document("failed")),
        )
        with serving(*answers) as api:
            done = self._run(tmp_path, api.url)
        assert done.exit_code == 1
        assert [request.method for request in api.requests] == ["GET", "POST", "GET"]
        assert api.requests[1].headers["Idempotency-Key"] != key

    def test_sends_failed_studies_again_only_when_asked(self, tmp_path: Path) -> None:
        study = make_study(tmp_path / "in")
        with open_journal(tmp_path / "out.csv.journal", {}) as journal:
            journal.plan([study])
            journal.note_outcome(study, make_failure(study))
        assert self._run(tmp_path, "http://127.0.0.1:9").exit_code == 1
        assert self._run(tmp_path, "http://127.0.0.1:9", "--retry-failed").exit_code == 75

    @pytest.mark.parametrize("output", ["out.ods", "nowhere/out.csv"])
    def test_refuses_an_output_that_it_cannot_write(self, tmp_path: Path, output: str) -> None:
        make_study(tmp_path / "in")
        arguments = ["batch", "--input-dir", str(tmp_path / "in"), "--output", str(tmp_path / output)]
        assert CliRunner().invoke(app, arguments).exit_code == 2

    def test_says_that_a_folder_holds_no_study(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        done = self._run(tmp_path, "http://127.0.0.1:9")
        assert done.exit_code == 2
        assert "ctclip prepare" in done.stderr

    def _run(self, folder: Path, url: str, *options: str) -> Result:
        arguments = ["batch", "--input-dir", str(folder / "in"), "--output", str(folder / "out.csv"), "--json"]
        return CliRunner().invoke(app, [*arguments, "--api-url", url, *options], env={"COLUMNS": "200"})

    def _read_codes(self, folder: Path) -> list[str]:
        with (folder / "out.csv").open(encoding="utf-8-sig", newline="") as file:
            return [row["problem_code"] for row in csv.DictReader(file)]
