"""Problems of want of room: the request is right, and there is no place for it now."""

from __future__ import annotations

from collections.abc import Mapping

from shared.problems.codes import ProblemCode
from shared.problems.kinds import ProblemKind, show_of_request

KINDS: Mapping[ProblemCode, ProblemKind] = {
    ProblemCode.QUEUE_FULL: ProblemKind(
        "The queue is full",
        503,
        "Come back after `Retry-After`; if it stays so, the operator must add workers.",
        cause="As many jobs are open as this installation takes (`CTCLIP_QUEUE_LIMIT`): more come in than the workers "
        "read, or the broker is away. Nothing was read of the body, and jobs that were accepted are not touched.",
        example=show_of_request("150000 jobs are open already. Come back when some have ended.", limit=150000),
        related=(ProblemCode.TENANT_QUEUE_FULL, ProblemCode.RATE_LIMITED, ProblemCode.BROKER_UNAVAILABLE),
    ),
    ProblemCode.TENANT_QUEUE_FULL: ProblemKind(
        "Too many open jobs of this tenant",
        429,
        "Wait as `Retry-After` says, until some of your jobs have ended. `limit` says how many may be open.",
        cause="The tenant has as many open jobs as it may (`CTCLIP_TENANT_QUEUE_LIMIT`), so that one cannot fill the "
        "queue of all.",
        example=show_of_request("200 jobs of this tenant are open already. Come back when some have ended.", limit=200),
        related=(ProblemCode.QUEUE_FULL, ProblemCode.TENANT_UPLOADS_BUSY),
    ),
    ProblemCode.TENANT_STORAGE_FULL: ProblemKind(
        "The tenant's space is full",
        429,
        "Erase jobs (`DELETE /v1/jobs/{id}`) or abort uploads (`DELETE /v1/uploads/{id}`) that are not needed, or ask "
        "the operator for more space.",
        cause="The objects of the tenant's jobs and uploads take `limit_bytes` (`CTCLIP_TENANT_STORAGE_LIMIT_BYTES`), "
        "or would with the upload that is begun. They are added up every five minutes, so what was erased or aborted "
        "counts as free a little later. An upload that was begun may be finished and submitted.",
        example=show_of_request(
            "Jobs and uploads of this tenant may take 1073741824 bytes. Erase or abort some, or wait for retention.",
            limit_bytes=1073741824,
        ),
        related=(ProblemCode.TENANT_QUEUE_FULL, ProblemCode.NO_SPACE),
    ),
}
