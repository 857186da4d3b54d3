"""Progress of a batch: bars on a terminal, a line for each study elsewhere."""

from __future__ import annotations

from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from client.batch.outcomes import Outcome
from client.batch.studies import Study
from client.documents import Job
from client.words import name_stage

_LONGEST_NAME = 40
_UPLOAD_SHARE = 0.1
_RUNNING = "leased"


class Progress(Protocol):
    """Who is told how a batch goes."""

    def begin(self, study: Study) -> None:
        """A study is taken up."""

    def upload(self, study: Study, sent_bytes: int, size_bytes: int) -> None:
        """So much of it is sent."""

    def move(self, study: Study, job: Job) -> None:
        """Its job has moved."""

    def end(self, study: Study, outcome: Outcome) -> None:
        """It has an outcome, or none for now."""


class QuietProgress:
    """Tells nobody."""

    def begin(self, study: Study) -> None:
        """Say nothing."""

    def upload(self, study: Study, sent_bytes: int, size_bytes: int) -> None:
        """Say nothing."""

    def move(self, study: Study, job: Job) -> None:
        """Say nothing."""

    def end(self, study: Study, outcome: Outcome) -> None:
        """Say nothing."""


class LineProgress(QuietProgress):
    """Tells each outcome in a line."""

    def __init__(self, console: Console, total: int, done: int) -> None:
        self._console = console
        self._total = total
        self._done = done

    def end(self, study: Study, outcome: Outcome) -> None:
        """Tell what became of a study."""
        self._done += 1
        line = f"{self._done}/{self._total} {study.name}: {describe(outcome)}"
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


class BarProgress:
    """A bar for the batch and one for each study that is under way. Use as a context manager."""

    def __init__(self, console: Console, total: int, done: int) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[doing]}"))
        self.bars = Bars(*columns, TimeElapsedColumn(), console=console)
        self.total = Bars(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._batch = self.total.add_task("Studies", total=total, completed=done)
        self._tasks: dict[str, TaskID] = {}

    def begin(self, study: Study) -> None:
        """Draw a bar for a study."""
        name = study.name if len(study.name) <= _LONGEST_NAME else f"…{study.name[1 - _LONGEST_NAME :]}"
        self._tasks[study.name] = self.bars.add_task(escape(name), total=1.0, doing="waiting")

    def upload(self, study: Study, sent_bytes: int, size_bytes: int) -> None:
        """Move its bar as it is sent."""
        share = sent_bytes / size_bytes if size_bytes else 1.0
        self.bars.update(self._tasks[study.name], completed=_UPLOAD_SHARE * share, doing=f"sending {share:.0%}")

    def move(self, study: Study, job: Job) -> None:
        """Move its bar as its job goes on."""
        doing = ", ".join(name_stage(stage.name) for stage in job.stages if stage.state == _RUNNING) or job.state
        completed = _UPLOAD_SHARE + (1 - _UPLOAD_SHARE) * job.progress
        self.bars.update(self._tasks[study.name], completed=completed, doing=doing)

    def end(self, study: Study, outcome: Outcome) -> None:
        """Take its bar away; a failure leaves a line."""
        self.bars.remove_task(self._tasks.pop(study.name))
        self.total.advance(self._batch)
        if not outcome.has_result:
            line = f"{study.name}: {describe(outcome)}"
            self.bars.console.print(line, highlight=False, markup=False, soft_wrap=True)


def describe(outcome: Outcome) -> str:
    """Return an outcome in a few words."""
    row = outcome.row
    if not outcome.has_result:
        return f"{row['processing_status']}, {row['problem_code']}: {row['problem']}"
    answered = f"{row['models_answered']} of {row['models_expected']} models"
    return f"{row['probability_of_pathology']:.3f}, {row['most_dangerous_pathology_type']} ({answered})"
