"""Holds what a platform answered against the right answer. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from client.acceptance.manifest import Case, Expected
from client.acceptance.raw_http import Answer
from client.acceptance.sending import Observed
from client.documents import WITH_RESULT

_REPLAYED = "idempotent-replayed"
_LONGEST_NAME = 255
_SPACING_TOLERANCE_MM = 1e-4
_MEAN_TOLERANCE_HU = 1e-2


def judge(case: Case, observed: Observed) -> list[str]:
    """Return every difference between the answer and the right one, in words; none when the case is passed."""
    return list(_iterate_differences(case, observed))


def describe(observed: Observed) -> str:
    """Return an answer in a few words: the status, and what became of the job."""
    status = observed.answers[0].status if observed.answers else 0
    problem = observed.job.get("problem") or (observed.answers[0].document if observed.answers else {})
    words = [str(status), str(observed.job.get("state") or ""), str(problem.get("code") or "")]
    return " ".join(word for word in words if word)


def describe_expected(expected: Expected) -> str:
    """Return the right answer in a few words."""
    outcome = "" if expected.outcome == "refused" else expected.outcome
    words = [str(expected.status), outcome, expected.code or "", *sorted(f"+{code}" for code in expected.warnings)]
    return " ".join(word for word in words if word)


def _iterate_differences(case: Case, observed: Observed) -> Iterator[str]:
    expected = case.expected
    yield from _compare_answers(case, observed.answers)
    if expected.outcome == "refused" or not observed.job:
        return
    yield from _compare_state(expected, observed.job)
    yield from _compare_files(expected, observed.intake)
    if expected.outcome == "accepted":
        yield from _compare_reading(expected, observed.intake)
    if len(observed.parts) != expected.split_into:
        yield f"split into {len(observed.parts)} jobs, expected {expected.split_into}"
    for part in observed.parts:
        if part.job.get("state") not in WITH_RESULT:
            yield f"a part ended {part.job.get('state')} {_get_code(part.job)}"
        yield from _compare_volume(expected.volume, part.intake)


def _compare_answers(case: Case, answers: Sequence[Answer]) -> Iterator[str]:
    expected = case.expected
    for answer in answers:
        if answer.status != expected.status:
            yield f"HTTP {answer.status}, expected {expected.status}: {answer.document.get('code')}"
        if expected.outcome == "refused" and answer.document.get("code") != expected.code:
            yield f"code {answer.document.get('code')}, expected {expected.code}"
        sent = [value for value in case.send.headers.values() if value in " ".join(answer.headers.values())]
        if sent or "x-injected" in {name.lower() for name in answer.headers}:
            yield "the answer repeats a header that was sent"
    if len(answers) > 1 and len({answer.document.get("id") for answer in answers}) > 1:
        yield "one key led to several jobs"
    first = sum(_REPLAYED not in {name.lower() for name in answer.headers} for answer in answers)
    if len(answers) > 1 and first != 1:
        yield f"{first} answers were no replay, expected 1"
    if case.send.cut_at is not None and not first:
        yield "the upload that was cut left a job"


def _compare_state(expected: Expected, job: Mapping[str, Any]) -> Iterator[str]:
    state, code = job.get("state"), _get_code(job)
    is_right = state in WITH_RESULT if expected.outcome == "accepted" else state == expected.outcome
    if not is_right or code != expected.code:
        detail = (job.get("problem") or {}).get("detail")
        yield f"the job ended {state} {code} ({detail}), expected {expected.outcome} {expected.code}"
    problem = job.get("problem") or {}
    for name, value in expected.facts.items():
        if problem.get(name) != value:
            yield f"problem.{name} is {problem.get(name)}, expected {value}"


def _compare_files(expected: Expected, intake: Mapping[str, Any]) -> Iterator[str]:
    counts: Counter[str] = Counter()
    for count in intake.get("file_counts") or ():
        counts[str(count.get("code"))] += int(count.get("files") or 0)
    if expected.has_file_list and not counts:
        yield "there is no list of files"
    for code, least in expected.files.items():
        if counts[code] < least:
            yield f"{counts[code]} files are {code}, expected {least} at least"
    names = [str(file.get("name") or "") for file in intake.get("files") or ()]
    if any(len(name) > _LONGEST_NAME or not name.isprintable() for name in names):
        yield "a name of the list of files is not escaped or not cut"


def _compare_reading(expected: Expected, intake: Mapping[str, Any]) -> Iterator[str]:
    warnings = {str(warning.get("code")) for warning in intake.get("warnings") or ()}
    for code in sorted(expected.warnings - warnings):
        yield f"the warning {code} is missing among {sorted(warnings)}"
    for code in sorted(expected.without_warnings & warnings):
        yield f"the warning {code} was not expected"
    found = int(intake.get("candidates_found") or 0)
    if found < expected.candidates:
        yield f"{found} candidates, expected {expected.candidates} at least"
    yield from _compare_volume(expected.volume, intake)


def _compare_volume(volume: Mapping[str, Any] | None, intake: Mapping[str, Any]) -> Iterator[str]:
    if volume is None:
        return
    chosen, hu = intake.get("chosen") or {}, intake.get("hu") or {}
    if chosen.get("shape_zyx") != volume["shape_zyx"]:
        yield f"the volume is {chosen.get('shape_zyx')}, expected {volume['shape_zyx']}"
    if not _are_close(chosen.get("spacing_zyx_mm"), volume["spacing_zyx_mm"], _SPACING_TOLERANCE_MM):
        yield f"the spacing is {chosen.get('spacing_zyx_mm')} mm, expected {volume['spacing_zyx_mm']}"
    found = [hu.get("min"), hu.get("max"), hu.get("mean")]
    expected = [volume["hu"]["min"], volume["hu"]["max"], volume["hu"]["mean"]]
    if found[:2] != expected[:2] or not _are_close(found[2:], expected[2:], _MEAN_TOLERANCE_HU):
        yield f"HU (least, greatest, mean) are {found}, expected {expected}"


def _are_close(found: object, expected: Sequence[float], tolerance: float) -> bool:
    if not isinstance(found, list) or len(found) != len(expected) or None in found:
        return False
    return all(math.isclose(a, b, rel_tol=0, abs_tol=tolerance) for a, b in zip(found, expected, strict=True))


def _get_code(job: Mapping[str, Any]) -> str | None:
    return (job.get("problem") or {}).get("code")
