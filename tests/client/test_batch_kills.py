"""A batch that is killed again and again, at any moment, still gives each study one row and one job."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import openpyxl

from tests.client.counting_api import CountingApi, counting
from tests.stack.running import CTCLIP, wait_until

STUDIES = int(os.environ.get("BATCH_STUDIES", "12"))
KILLS = 3


class TestKilledBatch:
    def test_gives_each_study_one_row_and_one_job(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        for number in range(STUDIES):
            (tmp_path / "in" / f"{number:02d}.zip").write_bytes(f"PK{number}".encode())
        with counting() as api:
            for kill in range(1, KILLS + 1):
                self._run_and_kill(api, tmp_path, jobs=kill * STUDIES // (KILLS + 1))
            done = subprocess.run(self._command(api, tmp_path), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["with_result"] == STUDIES
        header, *rows = openpyxl.load_workbook(tmp_path / "results.xlsx")["studies"].iter_rows(values_only=True)
        assert [Path(str(row[0])).name for row in rows] == [f"{number:02d}.zip" for number in range(STUDIES)]
        assert len({row[header.index("job_id")] for row in rows}) == len(api.jobs) == STUDIES

    def _run_and_kill(self, api: CountingApi, folder: Path, jobs: int) -> None:
        batch = subprocess.Popen(self._command(api, folder), stdout=subprocess.DEVNULL)
        try:
            # Not the journal but the API tells the moment: the note of the last job may be written or not.
            wait_until(lambda: len(api.jobs) >= jobs, f"{jobs} studies were sent")
        finally:
            batch.kill()
            batch.wait()

    def _command(self, api: CountingApi, folder: Path) -> list[str]:
        places = ["--input-dir", str(folder / "in"), "--output", str(folder / "results.xlsx"), "--api-url", api.url]
        return [*CTCLIP, "batch", *places, "--concurrency", "3", "--json"]
