"""The Python clients and `ctclip batch` against the whole platform."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import openpyxl
import pytest
from sqlalchemy import func, select

from client import ApiError, AsyncClient, Client, Event, StudyResult
from client.batch.journal import open_journal
from client.batch.studies import Study, find_studies
from phantom.dicom import write_zip
from phantom.study import PhantomSettings, make_study
from shared.database import transaction
from shared.tables import Job
from tests.stack.running import CTCLIP, JOB_LIMIT_S, RunningStack, run_ctclip, wait_until

pytestmark = pytest.mark.stack

STUDIES = int(os.environ.get("BATCH_STUDIES", "6"))  # the figure of docs/clients.md was taken with 40
ONE_MODEL = "mednext"
OPTIONS = {"models": ONE_MODEL}


@pytest.fixture(scope="module")
def api(stack: RunningStack) -> Iterator[Client]:
    with Client(stack.url) as client:
        yield client


class TestBlockingClient:
    def test_submits_with_progress_and_returns_a_typed_result(self, api: Client, phantom_zip: Path) -> None:
        sent: list[tuple[int, int]] = []
        job = api.submit(phantom_zip, OPTIONS, on_progress=lambda done, of: sent.append((done, of)))
        assert sent[-1] == (phantom_zip.stat().st_size, phantom_zip.stat().st_size)
        assert api.wait(job.id, limit_s=JOB_LIMIT_S).has_result
        result = api.fetch_result(job.id)
        assert isinstance(result, StudyResult)
        assert result.answered == 1
        assert 0 <= result.probability_of_pathology <= 1
        assert ONE_MODEL in {model.name for model in result.models}
        assert result.findings[0].probabilities

    def test_resumes_events_where_they_broke_off(self, api: Client, phantom_zip: Path) -> None:
        job = api.submit(phantom_zip, OPTIONS)
        begun: list[Event] = []
        for event in api.iterate_events(job.id):
            begun.append(event)
            if len(begun) == 3:
                break
        rest = list(api.iterate_events(job.id, after=begun[-1].id))
        assert rest[-1].ends_job
        assert [*begun, *rest] == list(api.iterate_events(job.id))
        assert list(api.iterate_events(job.id, after=rest[-1].id)) == []

    def test_cancels_and_erases(self, api: Client, phantom_zip: Path) -> None:
        job = api.submit(phantom_zip, priority="0")
        assert api.cancel(job.id).state == "cancelled"
        assert api.erase(job.id).rows > 0
        with pytest.raises(ApiError) as raised:
            api.fetch_job(job.id)
        assert (raised.value.status, raised.value.code) == (410, "erased")

    def test_lists_its_jobs_page_by_page(self, api: Client, phantom_zip: Path) -> None:
        ids = {api.submit(phantom_zip, validate_only="true").id for _ in range(3)}
        found = [job.id for job in api.iterate_jobs(limit="2")]
        assert ids <= set(found)
        assert len(found) == len(set(found))


class TestAsynchronousClient:
    def test_does_the_same_for_many_at_once(self, stack: RunningStack, phantom_zip: Path) -> None:
        async def read(api: AsyncClient) -> tuple[list[Event], StudyResult]:
            job = await api.submit(phantom_zip, OPTIONS)
            events = [event async for event in api.iterate_events(job.id)]
            assert (await api.wait(job.id, limit_s=JOB_LIMIT_S)).has_result
            return events, await api.fetch_result(job.id)

        async def read_twice() -> tuple[tuple[list[Event], StudyResult], ...]:
            async with AsyncClient(stack.url) as api:
                return await asyncio.gather(read(api), read(api))

        (events, first), (_, second) = asyncio.run(read_twice())
        assert events[-1].ends_job
        assert first.job_id != second.job_id
        assert first.probability_of_pathology == second.probability_of_pathology


class TestCommands:
    def test_submit_watch_result_and_cancel_work_together(self, stack: RunningStack, phantom_zip: Path) -> None:
        at = ("--api-url", stack.url)
        job_id = json.loads(run_ctclip("submit", str(phantom_zip), "--models", ONE_MODEL, "--json", *at).stdout)["id"]
        watched = run_ctclip("watch", job_id, "--events", *at)
        assert watched.returncode == 0, watched.stderr
        assert json.loads(watched.stdout.splitlines()[-1])["kind"] == "job.state"
        assert json.loads(run_ctclip("result", job_id, "--json", *at).stdout)["job_id"] == job_id
        refused = run_ctclip("cancel", job_id, "--json", *at)
        assert refused.returncode == 1
        assert json.loads(refused.stdout)["code"] == "job_already_finished"


class TestBatchKilledHalfWay:
    """A batch is killed with SIGKILL and started again; of one study, death came between its sending and the note."""

    def test_gives_each_study_one_row_and_reads_none_twice(
        self, stack: RunningStack, api: Client, tmp_path: Path
    ) -> None:
        studies = self._make_studies(tmp_path / "in")
        journal = tmp_path / "results.xlsx.journal"
        jobs_before = self._count_jobs(stack)
        self._send_without_a_note(api, journal, studies)
        self._run_and_kill(stack, tmp_path, journal)
        again = run_ctclip(*self._command(stack, tmp_path), "--json")
        assert again.returncode == 0, again.stderr + again.stdout
        book = openpyxl.load_workbook(tmp_path / "results.xlsx")
        header, *rows = book["studies"].iter_rows(values_only=True)
        assert [row[0] for row in rows] == [str(study.path) for study in studies]
        assert {row[header.index("processing_status")] for row in rows} == {"Success"}
        assert len({row[header.index("job_id")] for row in rows}) == STUDIES
        assert self._count_jobs(stack) - jobs_before == STUDIES
        assert book.sheetnames == ["studies", "findings", "problems"]

    def _make_studies(self, folder: Path) -> list[Study]:
        folder.mkdir()
        for seed in range(STUDIES):
            write_zip(make_study(seed, (), PhantomSettings.coarse()), folder / f"{seed}.zip")
        return find_studies(folder)

    def _send_without_a_note(self, api: Client, path: Path, studies: list[Study]) -> None:
        with open_journal(path, OPTIONS) as journal:
            journal.plan(studies)
            api.submit(studies[0].path, OPTIONS, idempotency_key=journal.get(studies[0]).key)

    def _run_and_kill(self, stack: RunningStack, folder: Path, journal: Path) -> None:
        batch = subprocess.Popen([*CTCLIP, *self._command(stack, folder)])
        try:
            wait_until(lambda: journal.read_bytes().count(b'"ended"') >= STUDIES // 2, "half has ended", JOB_LIMIT_S)
            assert batch.poll() is None
        finally:
            os.kill(batch.pid, signal.SIGKILL)
            batch.wait()
        assert journal.read_bytes().count(b'"ended"') < STUDIES
        assert not (folder / "results.xlsx").exists()

    def _command(self, stack: RunningStack, folder: Path) -> tuple[str, ...]:
        places = ("--input-dir", str(folder / "in"), "--output", str(folder / "results.xlsx"), "--api-url", stack.url)
        return ("batch", *places, "--models", ONE_MODEL, "--concurrency", "2")

    def _count_jobs(self, stack: RunningStack) -> int:
        with transaction(stack.engine) as session:
            return session.scalar(select(func.count()).select_from(Job)) or 0
