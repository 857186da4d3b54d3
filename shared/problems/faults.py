"""Problems that are ours: the caller can only come back later or tell the operator."""

from __future__ import annotations

from collections.abc import Mapping

from shared.problems.codes import ProblemCode
from shared.problems.kinds import ProblemKind, show_of_job, show_of_request

KINDS: Mapping[ProblemCode, ProblemKind] = {
    ProblemCode.NO_MODEL_ANSWERED: ProblemKind(
        "Too few models answered",
        503,
        "`GET /v1/models` says what is installed; the policy says what is needed.",
        cause="The study was read, but fewer models answered than the policy of this installation asks for. `missing` "
        "names each with its reason. The same word stands as a warning in a result where the policy needs none.",
        example=show_of_job(
            "0 of 5 models answered; policy default-1 needs 1.",
            answered=0,
            needed=1,
            missing={
                "ct_clip": "model_not_installed",
                "supervised": "model_not_installed",
                "mednext": "internal_error",
                "diffusion": "model_not_installed",
                "fvlm": "model_not_installed",
            },
        ),
        related=(ProblemCode.INTERNAL_ERROR, ProblemCode.NOT_READY),
    ),
    ProblemCode.DEADLINE_EXCEEDED: ProblemKind(
        "The job did not end in time",
        503,
        "Submit again; if it stays so, the operator must add workers.",
        cause="The job was still waiting or running `limit_s` seconds after its submission (`CTCLIP_JOB_TIME_LIMIT`). "
        "What was running is cancelled.",
        example=show_of_job("The job did not end within 21600 s of its submission.", limit_s=21600),
        related=(ProblemCode.WORKER_LOST, ProblemCode.RETRIES_EXHAUSTED),
    ),
    ProblemCode.RETRIES_EXHAUSTED: ProblemKind(
        "A dependency stayed unwell",
        503,
        "Submit again later. `cause` names the last fault.",
        cause="A stage met a passing fault of storage, database, broker or disk again and again, with growing pauses, "
        "and was given up. `cause` is the code of the last fault.",
        example=show_of_job(
            "The stage intake met 6 passing faults in a row and was given up.",
            stage="intake",
            cause="storage_unavailable",
        ),
        related=(ProblemCode.STORAGE_UNAVAILABLE, ProblemCode.DATABASE_UNAVAILABLE, ProblemCode.NO_SPACE),
    ),
    ProblemCode.WORKER_LOST: ProblemKind(
        "The worker died again and again",
        503,
        "Submit again; if it stays so, tell the operator the job id.",
        cause="The process that ran a stage went away several times without a word: it was killed, ran out of memory, "
        "or its machine stopped.",
        example=show_of_job("The stage mednext lost its worker 4 times.", stage="mednext"),
        related=(ProblemCode.UNDECODABLE, ProblemCode.DEADLINE_EXCEEDED),
    ),
    ProblemCode.STORAGE_UNAVAILABLE: ProblemKind(
        "Object storage is not available",
        503,
        "Try again later.",
        cause="The S3 storage did not answer, answered with an error, lacks its bucket, or gave back other bytes than "
        "were written.",
        example=show_of_request("Object storage is not available. The same request may succeed later."),
        related=(ProblemCode.NO_SPACE, ProblemCode.RETRIES_EXHAUSTED, ProblemCode.NOT_READY),
    ),
    ProblemCode.DATABASE_UNAVAILABLE: ProblemKind(
        "The database is not available",
        503,
        "Try again later.",
        cause="PostgreSQL cannot be reached, closed the connection, or all connections stayed busy. No job is lost: "
        "one that was answered with 202 is in the database.",
        example=show_of_request("The database is not available. The same request may succeed later."),
        related=(ProblemCode.NOT_READY, ProblemCode.RETRIES_EXHAUSTED),
    ),
    ProblemCode.BROKER_UNAVAILABLE: ProblemKind(
        "The broker is not available",
        503,
        "Jobs are kept and go on when it is back.",
        cause="The broker that carries messages to the workers cannot be reached. No submission is refused for it "
        "until the queue is full: messages wait in the database. The code stands in logs and metrics, and as `cause` "
        "in `retries_exhausted`.",
        example=show_of_request("The broker is not available. The same request may succeed later."),
        related=(ProblemCode.RETRIES_EXHAUSTED, ProblemCode.DEADLINE_EXCEEDED),
    ),
    ProblemCode.NO_SPACE: ProblemKind(
        "There is no space left",
        507,
        "The operator must free space.",
        cause="The disk that a worker keeps its copies and scratch files on (`CTCLIP_CACHE_DIR`) is full. A stage "
        "tries again; when the disk stays full, the job ends with `retries_exhausted` and this code as its `cause`. A "
        "submission is refused with it while the disk of the object storage is nearly full.",
        example=show_of_request("There is no space left. The same request may succeed later."),
        related=(ProblemCode.STORAGE_UNAVAILABLE, ProblemCode.RETRIES_EXHAUSTED),
    ),
    ProblemCode.MEMORY_INSUFFICIENT: ProblemKind(
        "The volume needs more memory than the worker has",
        507,
        "Let the operator give the workers more memory, or choose a series with fewer or thicker slices.",
        cause="What a model takes for a volume is predicted before it runs. Work that fits but for other work waits; a "
        "volume that would not fit on the idle machine (`needed_bytes` beside `available_bytes`, of main memory or of "
        "the GPU) is not answered by that model. The job goes on without it.",
        example=show_of_job(
            "The model needs 40.2 GiB of main memory for this volume; its worker has 31.2 GiB.",
            needed_bytes=43164421325,
            available_bytes=33500744908,
        ),
        related=(ProblemCode.WORKER_LOST, ProblemCode.NO_MODEL_ANSWERED),
    ),
    ProblemCode.NOT_READY: ProblemKind(
        "The service is not ready",
        503,
        "`checks` names what is missing. Try again later.",
        cause="A dependency is missing or not as this version needs it: `checks` says `ok` or what is wrong for "
        "database, schema, policy and storage. A submission is refused by the same code, without `checks`.",
        example=show_of_request(
            "A dependency is missing. `checks` names it.",
            instance="/readyz",
            checks={"database": "ok", "schema": "ok", "policy": "no_active_policy", "storage": "ok"},
        ),
        related=(ProblemCode.DATABASE_UNAVAILABLE, ProblemCode.STORAGE_UNAVAILABLE),
    ),
    ProblemCode.INTERNAL_ERROR: ProblemKind(
        "We have a bug",
        500,
        "It was recorded. Tell the operator the `trace_id` or the job id.",
        cause="Something happened in our own code that we did not foresee; it is not the fault of the study. A stage "
        "is tried once more by another process before its job ends so, with the name of the `stage` beside it.",
        example=show_of_request("Something happened here that we did not foresee. It was recorded."),
        related=(ProblemCode.WORKER_LOST, ProblemCode.UNDECODABLE),
    ),
}
