"""What a batch shows while it runs."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from client.batch.command import _shown
from client.batch.outcomes import describe_unfinished
from client.batch.progress import BarProgress, LineProgress, QuietProgress
from client.batch.studies import Study
from client.documents import Job
from tests.client.tiny_api import job_document

STUDY = Study(Path("in/[red]deep/er/a.zip"), "[red]deep/er/a.zip", 10, 0)
RUNNING = {"name": "mednext", "state": "leased", "attempt": 1}


def show(*, is_terminal: bool, as_json: bool = False) -> str:
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=120)
    with _shown(console, 3, 1, as_json) as progress:
        progress.begin(STUDY)
        progress.upload(STUDY, 5, 10)
        if isinstance(progress, BarProgress):
            console.print(progress.bars)
        progress.move(STUDY, Job.parse(job_document(stages=[RUNNING])))
        if isinstance(progress, BarProgress):
            console.print(progress.bars)
            console.print(progress.total)
        progress.end(STUDY, describe_unfinished(STUDY))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


class TestProgress:
    def test_draws_bars_on_a_terminal(self) -> None:
        shown = show(is_terminal=True)
        for told in ("[red]deep/er/a.zip", "sending 50%", "MedNeXt", "1/3", "not_finished"):
            assert told in shown

    def test_is_a_line_for_each_outcome_elsewhere(self) -> None:
        (line,) = show(is_terminal=False).splitlines()
        assert line.startswith("2/3 [red]deep/er/a.zip: Failure, not_finished:")

    def test_is_silent_for_programs(self) -> None:
        assert show(is_terminal=True, as_json=True) == ""

    @pytest.mark.parametrize("kind", [BarProgress, LineProgress, QuietProgress])
    def test_answers_to_all_that_may_happen(self, kind: type[object]) -> None:
        assert {"begin", "upload", "move", "end"} <= set(dir(kind))
