"""Reads a study step by step: files, stacks, choice, volume, lungs. What is known is kept, so a refusal can tell it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from shared.errors import InputProblem
from shared.problems import ProblemCode
from workers.intake.archive import ByteSource
from workers.intake.assembly import Assembled, assemble
from workers.intake.choice.candidate import Candidate
from workers.intake.choice.explaining import describe_loss, explain_choice
from workers.intake.choice.ranking import rank
from workers.intake.dicom.header import Image
from workers.intake.files import FileCode, FileOutcome
from workers.intake.limits import IntakeLimits
from workers.intake.lungs import find_lung_notices, find_lung_problem, measure_lungs
from workers.intake.question import Question
from workers.intake.refusals import check_one_study, explain_no_stack, make_refusal, prefer_file_problem
from workers.intake.spool import Spool
from workers.intake.stacks.grouping import group_into_stacks
from workers.intake.study_files import StudyFiles, read_archive

Progress = Callable[[float], None]

_MOST_TRIES = 3
_READ_SHARE = 0.4
_DECODED_SHARE = 0.9


@dataclass
class Reading:
    """One study being read. `study`, `candidates` and `seconds` hold what is known so far."""

    spool: Spool
    question: Question
    limits: IntakeLimits
    report: Progress
    study: StudyFiles = field(default_factory=StudyFiles)
    candidates: list[Candidate] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def read(self, source: ByteSource) -> tuple[Candidate, Assembled]:
        """Return the chosen stack and its volume. Raises InputProblem when the study is refused."""
        with self._timed("read"):
            read_archive(source, self.spool, self.limits, self.study, lambda share: self.report(_READ_SHARE * share))
        check_one_study(self.study)
        with self._timed("group"):
            self._find_candidates()
        if not self.candidates:
            raise make_refusal(explain_no_stack(self.study))
        return self._choose()

    def _find_candidates(self) -> None:
        grouping = group_into_stacks(self.study.images, self._digest_pixels)
        for image in grouping.duplicates:
            detail = "another file holds the same instance"
            self.study.set_outcome(image.ordinal, FileOutcome.IGNORED, FileCode.DUPLICATE, detail)
        self.candidates.extend(rank(grouping.stacks, volume_limit_bytes=self.limits.volume_bytes))

    def _choose(self) -> tuple[Candidate, Assembled]:
        """Return the best candidate that turns out to show lungs."""
        allowed = self._select_allowed()
        eligible = [candidate for candidate in allowed if candidate.problem is None]
        for candidate in eligible[:_MOST_TRIES]:
            assembled = self._try(candidate)
            if assembled is not None:
                candidate.is_chosen = True
                explain_choice(self.candidates, candidate, is_forced=self.question.series_uid is not None)
                return candidate, assembled
        for candidate in self.candidates:
            candidate.reason = describe_loss(candidate)
        best = (eligible or allowed)[0]
        assert best.problem is not None
        raise make_refusal(best.problem if eligible else prefer_file_problem(self.study, best.problem))

    def _select_allowed(self) -> Sequence[Candidate]:
        wanted = self.question.series_uid
        if wanted is None:
            return self.candidates
        allowed = [candidate for candidate in self.candidates if candidate.stack.series_uid == wanted]
        if not allowed:
            detail = "The series asked for is not among the CT series of the study."
            raise InputProblem(ProblemCode.SERIES_NOT_FOUND, detail, series_instance_uid=wanted[:64])
        return allowed

    def _try(self, candidate: Candidate) -> Assembled | None:
        """Decode a candidate and look for lungs; note on the candidate why it cannot be used."""
        span = _DECODED_SHARE - _READ_SHARE
        try:
            with self._timed("decode"):
                assembled = assemble(candidate.stack, self.spool, lambda share: self.report(_READ_SHARE + span * share))
        except InputProblem as refusal:
            candidate.problem = refusal.problem
            return None
        for image, error in assembled.failures:
            self.study.set_outcome(image.ordinal, FileOutcome.REJECTED, error.code, error.detail)
        with self._timed("lungs"):
            findings = measure_lungs(assembled.hu, assembled.geometry.spacing_zyx_mm)
        candidate.lungs.update(findings.describe())
        candidate.problem = find_lung_problem(findings)
        if candidate.problem is not None:
            return None
        return replace(assembled, notices=(*assembled.notices, *find_lung_notices(findings)))

    def _digest_pixels(self, image: Image) -> bytes:
        layout = image.pixels
        length = layout.length or image.file_bytes - layout.offset
        value = self.spool.read(image.spool_offset + layout.offset, length)
        return hashlib.blake2b(value, digest_size=16).digest()

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - started
