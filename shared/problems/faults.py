"""Problems that are ours: the caller can only come back later or tell the operator."""

from __future__ import annotations

from collections.abc import Mapping

from shared.problems.codes import ProblemCode
from shared.problems.kinds import ProblemKind

KINDS: Mapping[ProblemCode, ProblemKind] = {
    ProblemCode.NO_MODEL_ANSWERED: ProblemKind(
        "Too few models answered",
        503,
        "`GET /v1/models` says what is installed; the policy says what is needed.",
    ),
    ProblemCode.DEADLINE_EXCEEDED: ProblemKind(
        "The job did not end in time", 503, "Submit again; if it stays so, the operator must add workers."
    ),
    ProblemCode.RETRIES_EXHAUSTED: ProblemKind(
        "A dependency stayed unwell", 503, "Submit again later. `cause` names the last fault."
    ),
    ProblemCode.WORKER_LOST: ProblemKind(
        "The worker died again and again", 503, "Submit again; if it stays so, tell the operator the job id."
    ),
    ProblemCode.STORAGE_UNAVAILABLE: ProblemKind("Object storage is not available", 503, "Try again later."),
    ProblemCode.DATABASE_UNAVAILABLE: ProblemKind("The database is not available", 503, "Try again later."),
    ProblemCode.BROKER_UNAVAILABLE: ProblemKind(
        "The broker is not available", 503, "Jobs are kept and go on when it is back."
    ),
    ProblemCode.NO_SPACE: ProblemKind("There is no space left", 507, "The operator must free space."),
    ProblemCode.NOT_READY: ProblemKind(
        "The service is not ready", 503, "`checks` names what is missing. Try again later."
    ),
    ProblemCode.INTERNAL_ERROR: ProblemKind(
        "We have a bug", 500, "It was recorded. Tell the operator the `trace_id` or the job id."
    ),
}
