"""Problems of the request itself, found before the study is read."""

from __future__ import annotations

from collections.abc import Mapping

from shared.problems.codes import ProblemCode
from shared.problems.kinds import ProblemKind

KINDS: Mapping[ProblemCode, ProblemKind] = {
    ProblemCode.EMPTY_UPLOAD: ProblemKind(
        "The upload is empty", 400, "Send the ZIP or NIfTI as the `file` field or as the raw body."
    ),
    ProblemCode.NOT_AN_ARCHIVE: ProblemKind(
        "Neither a ZIP nor a NIfTI file",
        415,
        "Pack the DICOM files of one study into a ZIP. The kind is judged by the first bytes, not by the name.",
    ),
    ProblemCode.UPLOAD_TOO_LARGE: ProblemKind(
        "The upload is too large",
        413,
        "Send one study only, or ask the operator to raise `CTCLIP_UPLOAD_LIMIT_BYTES`.",
    ),
    ProblemCode.UPLOAD_INTERRUPTED: ProblemKind(
        "The upload ended early", 400, "The connection closed before the whole body came. Send it again."
    ),
    ProblemCode.MALFORMED_REQUEST: ProblemKind(
        "The request cannot be read",
        400,
        "Check the multipart body: one `file` field, a boundary, a proper end.",
    ),
    ProblemCode.VALIDATION_FAILED: ProblemKind(
        "The request has wrong or unknown fields",
        422,
        "`errors` names each field; the API reference lists the right ones.",
    ),
    ProblemCode.IDEMPOTENCY_KEY_INVALID: ProblemKind(
        "The Idempotency-Key cannot be used", 400, "Send 1 to 255 printable ASCII characters, such as a UUID."
    ),
    ProblemCode.IDEMPOTENCY_KEY_REUSED: ProblemKind(
        "The Idempotency-Key was used for another payload", 422, "Use a new key for a new study."
    ),
    ProblemCode.IDEMPOTENCY_KEY_IN_FLIGHT: ProblemKind(
        "The first request with this Idempotency-Key is still running",
        409,
        "Wait as `Retry-After` says, then repeat.",
    ),
    ProblemCode.NOT_FOUND: ProblemKind("No such page", 404, "See the API reference at `/docs`."),
    ProblemCode.METHOD_NOT_ALLOWED: ProblemKind(
        "The method does not fit the address", 405, "See the `Allow` header and the API reference at `/docs`."
    ),
    ProblemCode.JOB_NOT_FOUND: ProblemKind("No such job", 404, "Check the id; jobs of other tenants are not shown."),
    ProblemCode.JOB_NOT_FINISHED: ProblemKind("The job has not finished", 409, "Poll the job as `Retry-After` says."),
    ProblemCode.JOB_HAS_NO_RESULT: ProblemKind(
        "The job ended without a result", 409, "`job_problem` says why. Mend the cause and submit again."
    ),
    ProblemCode.INTAKE_NOT_FINISHED: ProblemKind(
        "The upload has not been read yet", 409, "Poll the job as `Retry-After` says."
    ),
}
