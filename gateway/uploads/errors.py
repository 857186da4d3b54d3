"""Problems of uploads in parts, each made in one place."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from gateway.problems.handlers import RetryLater
from shared.errors import InputProblem
from shared.problems import ProblemCode

_BUSY_RETRY_AFTER_S = 2
_FULL_RETRY_AFTER_S = 60


class UploadNotFound(InputProblem):
    """No upload of this tenant has this id, or it has expired."""

    def __init__(self) -> None:
        super().__init__(ProblemCode.UPLOAD_NOT_FOUND, "There is no upload of this id.")


class TooManyUploads(RetryLater):
    """The tenant has as many unfinished uploads as it may."""

    def __init__(self, limit: int) -> None:
        detail = f"There are {limit} uploads already that are no job yet."
        super().__init__(ProblemCode.TOO_MANY_UPLOADS, detail, retry_after_s=_FULL_RETRY_AFTER_S, limit=limit)


class UploadPartUnknown(InputProblem):
    """The upload has no part of this number."""

    def __init__(self, number: int, parts: int) -> None:
        detail = f"The upload has the parts 1 to {parts}; there is no part {number}."
        super().__init__(ProblemCode.UPLOAD_PART_UNKNOWN, detail, parts=parts)


class UploadPartSizeWrong(InputProblem):
    """The part is longer or shorter than it must be."""

    def __init__(self, number: int, *, expected_bytes: int, found_bytes: int) -> None:
        detail = f"Part {number} has {expected_bytes} bytes; {found_bytes} or more came or were announced."
        facts = {"expected_bytes": expected_bytes, "found_bytes": found_bytes}
        super().__init__(ProblemCode.UPLOAD_PART_SIZE_WRONG, detail, **facts)


class UploadPartConflict(InputProblem):
    """The part has come before, with other bytes."""

    def __init__(self, number: int, *, received_sha256: str) -> None:
        detail = f"Part {number} is there already, with other bytes."
        super().__init__(ProblemCode.UPLOAD_PART_CONFLICT, detail, received_sha256=received_sha256)


class UploadIncomplete(InputProblem):
    """Some parts have not come yet."""

    def __init__(self, missing: Sequence[int]) -> None:
        detail = f"{len(missing)} parts have not come yet."
        super().__init__(ProblemCode.UPLOAD_INCOMPLETE, detail, missing_parts=list(missing))


class UploadBusy(RetryLater):
    """The parts are being put together at this moment."""

    def __init__(self) -> None:
        detail = "The parts are being put together at this moment."
        super().__init__(ProblemCode.UPLOAD_BUSY, detail, retry_after_s=_BUSY_RETRY_AFTER_S)


class UploadAlreadyComplete(InputProblem):
    """Nothing can be added any more."""

    def __init__(self) -> None:
        super().__init__(ProblemCode.UPLOAD_ALREADY_COMPLETE, "The upload is complete: no part is taken any more.")


class UploadAlreadySubmitted(InputProblem):
    """A job was made of the upload before."""

    def __init__(self, job_id: uuid.UUID) -> None:
        detail = "A job was made of this upload already."
        super().__init__(ProblemCode.UPLOAD_ALREADY_SUBMITTED, detail, job_id=str(job_id))
