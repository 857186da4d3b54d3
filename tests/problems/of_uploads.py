"""Uploads that are taken in and refused by intake: the corpus has one for nearly every code."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from functools import partial

import nibabel
import numpy as np

from phantom.corpus.case import Case, Outcome, Sending
from phantom.corpus.files import pack
from phantom.corpus.raw_zip import honest, pack_raw
from phantom.corpus.registry import CASES
from shared.byte_units import MIB
from shared.problems import ProblemCode
from tests.problems.bench import Bench, Document, Generator
from workers.intake.stage import make_stage

_UNKNOWN_SERIES = "1.2.826.0.1.3680043.8.498.7"


def _list_rejected() -> dict[ProblemCode, Case]:
    """Return the first case of each code that a file alone, sent in the ordinary way, is rejected with."""
    cases: dict[ProblemCode, Case] = {}
    for case in CASES.values():
        if case.expected.outcome is Outcome.REJECTED and case.expected.code and case.sending == Sending():
            cases.setdefault(ProblemCode(case.expected.code), case)
    return cases


def _upload(bench: Bench, case: Case) -> Document:
    content = case.make(bench.chest)
    whole = content if isinstance(content, bytes) else b"".join(content)
    return bench.get_job_problem(bench.read_upload(whole, f"study{case.suffix}"))


def _contradict_the_directory(bench: Bench) -> Document:
    return bench.get_job_problem(bench.read_upload(pack_raw(honest(b"a", b"x", local_name=b"b"))))


def _ask_for_another_series(bench: Bench) -> Document:
    content = pack(bench.chest.files)
    return bench.get_job_problem(bench.read_upload(content, series_instance_uid=_UNKNOWN_SERIES))


def _kill_every_child(bench: Bench) -> Document:
    """Let the child have less memory than its libraries need."""
    job_id = bench.submit(pack(bench.chest.files))
    starved = bench.settings.model_copy(update={"intake_memory_limit_bytes": 64 * MIB})
    with closing(make_stage(starved)) as intake:
        bench.run_stage(job_id, intake)
    return bench.get_job_problem(job_id)


def _send_four_dimensions(bench: Bench) -> Document:
    image = nibabel.Nifti1Image(np.zeros((4, 4, 4, 3), np.int16), np.eye(4))  # type: ignore[no-untyped-call]  # nibabel
    return bench.get_job_problem(bench.read_upload(image.to_bytes(), "study.nii"))


GENERATORS: Mapping[ProblemCode, Generator] = {
    **{code: partial(_upload, case=case) for code, case in _list_rejected().items()},
    ProblemCode.ARCHIVE_CORRUPT: _contradict_the_directory,
    ProblemCode.SERIES_NOT_FOUND: _ask_for_another_series,
    ProblemCode.UNDECODABLE: _kill_every_child,
    ProblemCode.NIFTI_UNREADABLE: _send_four_dimensions,
}
