"""What happens to a stage after an error: three causes, three budgets.

InputProblem    never retried: the job is rejected, or goes on without that model
TransientFault  retried with growing delays, bounded
anything else   a defect: one retry on another process, then a dead letter with the evidence
"""

from __future__ import annotations

import errno
import traceback

from sqlalchemy import Engine, select

from shared.database import transaction
from shared.errors import Defect, InputProblem, SpoiledProcess, TransientFault, Unanswerable
from shared.json_values import JsonObject
from shared.metrics import STAGE_FAULTS, STAGES_ENDED
from shared.problems import Problem, ProblemCode
from shared.settings import Settings
from shared.states import StageState
from shared.tables import StageRun
from shared.telemetry import get_logger
from workers.runtime.completion import fail_stage, reject_study, retry_stage
from workers.runtime.lease import Lease
from workers.runtime.stage import StageOutput

_log = get_logger()
_FRAMES_KEPT = 12
_DISK_IS_FULL = {errno.ENOSPC, errno.EDQUOT}


def end_rejected(engine: Engine, lease: Lease, problem: Problem, output: StageOutput | None = None) -> None:
    """End a stage whose input is at fault."""
    with transaction(engine) as session:
        reject_study(session, lease, problem, output)
    _tell("input refused", lease, problem.code)


def end_after_error(engine: Engine, settings: Settings, lease: Lease, error: Exception) -> None:
    """Retry or end a stage that raised. Raises StaleLease when the stage is no longer ours."""
    if isinstance(error, InputProblem):
        end_rejected(engine, lease, error.problem)
    elif isinstance(error, Unanswerable):
        _fail(engine, lease, error.problem, cause="unanswerable")
    elif isinstance(error, OSError) and error.errno in _DISK_IS_FULL:
        fault = TransientFault(ProblemCode.NO_SPACE, f"scratch: {errno.errorcode[error.errno]}")
        _end_transient(engine, settings, lease, fault)
    elif isinstance(error, TransientFault):
        _end_transient(engine, settings, lease, error)
    else:
        _end_defect(engine, settings, lease, error)


def _end_transient(engine: Engine, settings: Settings, lease: Lease, fault: TransientFault) -> None:
    STAGE_FAULTS.labels(stage=lease.stage, kind="transient", code=fault.code).inc()
    faults = _fetch_counter(engine, lease, "transient_faults")
    _log.warning("transient fault", code=fault.code, message=str(fault), faults=faults + 1, **_describe(lease))
    if faults < settings.transient_retry_limit:
        delay = settings.transient_retry_delay * 2**faults
        with transaction(engine) as session:
            retry_stage(session, lease, counter="transient_faults", delay=delay, avoid=False)
        return
    problem = Problem(
        ProblemCode.RETRIES_EXHAUSTED,
        f"The stage {lease.stage} met {faults + 1} passing faults in a row and was given up.",
        {"stage": lease.stage, "cause": fault.code},
    )
    _fail(engine, lease, problem, cause="transient_fault", evidence={"code": fault.code, "message": str(fault)})


def _end_defect(engine: Engine, settings: Settings, lease: Lease, error: Exception) -> None:
    STAGE_FAULTS.labels(stage=lease.stage, kind="defect", code=ProblemCode.INTERNAL_ERROR).inc()
    defects = _fetch_counter(engine, lease, "defects")
    _log.error("defect", exc_info=error, defects=defects + 1, **_describe(lease))
    if defects < settings.defect_retry_limit:
        with transaction(engine) as session:
            delay = settings.transient_retry_delay
            retry_stage(session, lease, counter="defects", delay=delay, avoid=True)
        return
    problem = _describe_defect(lease, error)
    _fail(engine, lease, problem, cause="defect", evidence=_collect_evidence(lease, error))


def _describe_defect(lease: Lease, error: Exception) -> Problem:
    is_known = isinstance(error, SpoiledProcess) and error.code is ProblemCode.MEMORY_INSUFFICIENT
    code = ProblemCode.MEMORY_INSUFFICIENT if is_known else ProblemCode.INTERNAL_ERROR
    detail = "ran out of memory, more than once" if is_known else "has a bug. It was recorded"
    return Problem(code, f"The stage {lease.stage} {detail}.", {"stage": lease.stage})


def _fail(engine: Engine, lease: Lease, problem: Problem, *, cause: str, evidence: JsonObject | None = None) -> None:
    with transaction(engine) as session:
        fail_stage(session, lease, problem, cause=cause, evidence=evidence)
    _tell("stage failed", lease, problem.code)


def _fetch_counter(engine: Engine, lease: Lease, counter: str) -> int:
    with transaction(engine) as session:
        count = session.scalar(
            select(getattr(StageRun, counter)).where(StageRun.job_id == lease.job_id, StageRun.stage == lease.stage)
        )
    return int(count or 0)


def _collect_evidence(lease: Lease, error: Exception) -> JsonObject:
    """Return what mending needs. Foreign messages may quote the study, so they stay out."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES_KEPT:]
    return {
        "error": f"{type(error).__module__}.{type(error).__qualname__}",
        "message": str(error) if isinstance(error, Defect) else None,
        "facts": error.facts if isinstance(error, Defect) else {},
        "frames": [f"{frame.name}:{frame.lineno}" for frame in frames],
        "worker": lease.worker,
    }


def _tell(event: str, lease: Lease, code: ProblemCode) -> None:
    STAGES_ENDED.labels(stage=lease.stage, state=StageState.FAILED, code=code).inc()
    _log.warning(event, code=code, **_describe(lease))


def _describe(lease: Lease) -> dict[str, str | int]:
    return {"job_id": str(lease.job_id), "stage": lease.stage, "attempt": lease.attempt}
