"""Reads a study step by step: files, stacks, choice, volume, lungs. What is known is kept, so a refusal can tell it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np

from shared.errors import InputProblem
from shared.problems import Problem, ProblemCode
from workers.intake.archive import Member
from workers.intake.assembly import Assembled, assemble, decode_planes
from workers.intake.choice.candidate import Candidate
from workers.intake.choice.explaining import describe_loss, explain_choice
from workers.intake.choice.ranking import rank
from workers.intake.files import FileCode, FileOutcome
from workers.intake.limits import IntakeLimits
from workers.intake.lungs import find_lung_notices, find_lung_problem, find_sparse_veto, measure_lungs, pick_sparse
from workers.intake.progress import Progress
from workers.intake.question import Question
from workers.intake.refusals import check_one_study, explain_no_stack, make_refusal, prefer_file_problem
from workers.intake.slices import SliceReader
from workers.intake.stacks.grouping import group_into_stacks
from workers.intake.study_files import Looker, StudyFiles

_MOST_TRIES = 3
_MOST_LOOKS = 20
_LOOK_STEP_MM = 10.0
_LOOKED_SHARE = 0.3
_DECODED_SHARE = 0.9
_DESCRIBABLE = {ProblemCode.INSUFFICIENT_COVERAGE, ProblemCode.NO_LUNGS_FOUND}
"""Refusals of a stack of which a sound volume can be made all the same."""


@dataclass
class Reading:
    """One study being read. The fields from `study` on hold what is known so far.

    `candidate` is the stack that is told of, `assembled` its volume: those that were accepted or, where the question
    wants that, the best of those that were refused.
    """

    slices: SliceReader
    question: Question
    limits: IntakeLimits
    report: Progress
    study: StudyFiles
    candidates: list[Candidate] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    candidate: Candidate | None = None
    assembled: Assembled | None = None

    def read(self, members: Iterable[Member], looker: Looker) -> None:
        """Look, choose, and read the chosen stack. Raises InputProblem when the study is refused."""
        with self.timed("look"):
            looker.look_at(members, lambda share: self.report(_LOOKED_SHARE * share))
        if self.question.study_uid is not None:
            self.study.keep_study(self.question.study_uid)
        check_one_study(self.study)
        with self.timed("group"):
            self._find_candidates()
        if not self.candidates:
            raise make_refusal(explain_no_stack(self.study))
        self._choose(self._select_allowed())

    def _find_candidates(self) -> None:
        grouping = group_into_stacks(self.study.images, self.slices.digest_pixels)
        for image in grouping.duplicates:
            detail = "another file holds the same instance"
            self.study.set_outcome(image.ordinal, FileOutcome.IGNORED, FileCode.DUPLICATE, detail)
        self.candidates.extend(rank(grouping.stacks, volume_limit_bytes=self.limits.volume_bytes))

    def _select_allowed(self) -> Sequence[Candidate]:
        wanted = self.question.series_uid
        if wanted is None:
            return self.candidates
        allowed = [candidate for candidate in self.candidates if candidate.stack.series_uid == wanted]
        if not allowed:
            self._tell_losses()
            detail = "The series asked for is not among the CT series of the study."
            raise InputProblem(ProblemCode.SERIES_NOT_FOUND, detail, series_instance_uid=wanted[:64])
        return allowed

    def _choose(self, allowed: Sequence[Candidate]) -> None:
        """Take the best candidate that turns out to show lungs."""
        eligible = [candidate for candidate in allowed if candidate.problem is None]
        for candidate in self._select_likely(eligible):
            if self._try(candidate):
                candidate.is_chosen = True
                explain_choice(self.candidates, candidate, is_forced=self.question.series_uid is not None)
                return
        self._tell_losses()
        best = (eligible or allowed)[0]
        assert best.problem is not None
        self._describe_refused(best)
        raise make_refusal(best.problem if eligible else prefer_file_problem(self.study, best.problem))

    def _tell_losses(self) -> None:
        """Give every candidate of a refused study its reason."""
        wanted = self.question.series_uid
        for candidate in self.candidates:
            is_forced = wanted is not None and candidate.stack.series_uid != wanted
            candidate.reason = describe_loss(candidate, is_forced=is_forced)

    def _select_likely(self, eligible: Sequence[Candidate]) -> Iterator[Candidate]:
        """Yield the candidates to be read whole. Among several, a few slices of one tell whether it is worth that."""
        if len(eligible) > 1 and self.question.reads_pixels:
            yield from islice(
                (candidate for candidate in eligible[:_MOST_LOOKS] if not self._is_lungless(candidate)), _MOST_TRIES
            )
        else:
            yield from eligible[:1]

    def _is_lungless(self, candidate: Candidate) -> bool:
        """Look at slices far apart; note on the candidate when none of them shows lung."""
        stack = candidate.stack
        indices = pick_sparse(candidate.geometry.heights_mm, _LOOK_STEP_MM)
        with self.timed("sparse_look"):
            planes = decode_planes(stack, indices, self.slices, self.limits.threads)
            if planes:
                spacing_yx_mm = stack.images[0].placement.spacing_yx_mm
                candidate.problem = find_sparse_veto(np.stack(list(planes.values())), spacing_yx_mm, _LOOK_STEP_MM)
        return candidate.problem is not None

    def _try(self, candidate: Candidate) -> bool:
        """Read a candidate and look for lungs; note on the candidate why it cannot be used."""
        if not self.question.reads_pixels:
            self.candidate = candidate
            return True
        assembled = self._assemble(candidate)
        if assembled is None:
            return False
        with self.timed("lungs"):
            geometry = assembled.geometry
            is_head_last = bool(geometry.normal[2] > 0)
            findings = measure_lungs(assembled.hu, geometry.spacing_zyx_mm, is_head_last=is_head_last)
        candidate.lungs.update(findings.describe())
        candidate.problem = find_lung_problem(findings)
        if candidate.problem is None or (self.question.reads_refused and self.candidate is None):
            self.candidate = candidate
            self.assembled = replace(assembled, notices=(*assembled.notices, *find_lung_notices(findings)))
        return candidate.problem is None

    def _assemble(self, candidate: Candidate) -> Assembled | None:
        span = _DECODED_SHARE - _LOOKED_SHARE
        try:
            with self.timed("decode"):
                assembled = assemble(
                    candidate.stack,
                    self.slices,
                    self.limits.threads,
                    lambda share: self.report(_LOOKED_SHARE + span * share),
                )
        except InputProblem as refusal:
            if refusal.problem.code is ProblemCode.ARCHIVE_EXPANDS_TOO_FAR:
                raise
            candidate.problem = refusal.problem
            return None
        for image, error in assembled.failures:
            self.study.set_outcome(image.ordinal, FileOutcome.REJECTED, error.code, error.detail)
        return assembled

    def _describe_refused(self, best: Candidate) -> None:
        """Read the best stack of a refused study where that is wanted and can be done."""
        problem: Problem | None = best.problem
        if not self.question.reads_refused or self.candidate is not None:
            return
        if problem is None or problem.code not in _DESCRIBABLE:
            return
        if not self.question.reads_pixels:
            self.candidate = best
            return
        self.assembled = self._assemble(best)
        self.candidate = best if self.assembled is not None else None
        best.problem = problem

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the time of a step to `seconds`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - started
