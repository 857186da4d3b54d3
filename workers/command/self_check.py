"""`ctclip self-check`: how the last phantom fared on its way through the platform, or one more of them now."""

from __future__ import annotations

import json
import time
import uuid

import typer
from sqlalchemy import Engine

from shared.database import make_engine, transaction
from shared.errors import Defect, TransientFault
from shared.self_check import SelfCheckOutcome, SelfCheckState, fetch_self_check
from shared.settings import get_settings
from shared.storage import ObjectStore
from shared.telemetry import configure_logging
from workers.self_check import SelfCheck

_LOOK_EVERY_S = 1.0
_EXITS = {SelfCheckState.PASSED: 0, SelfCheckState.FAILED: 1, SelfCheckState.NOT_RUN: 2}
_CANNOT = 2


def command(*, now: bool, limit_s: float, as_json: bool) -> None:
    """Print the outcome; the exit status says it too."""
    settings = get_settings()
    configure_logging(settings, process="self-check")  # to standard error: the answer alone is standard output
    engine = make_engine(settings)
    try:
        if now:
            _run_one(SelfCheck(engine, ObjectStore(settings), settings), engine, limit_s)
        outcome = _fetch(engine)
    except (Defect, TransientFault) as error:
        typer.echo(f"Cannot tell: {error}.", err=True)
        raise typer.Exit(_CANNOT) from error
    typer.echo(json.dumps(describe(outcome)) if as_json else render(outcome))
    raise typer.Exit(_EXITS[outcome.state])


def describe(outcome: SelfCheckOutcome) -> dict[str, object]:
    """Return the outcome as JSON."""
    return {
        "state": str(outcome.state),
        "job_id": None if outcome.job_id is None else str(outcome.job_id),
        "at": None if outcome.at is None else outcome.at.isoformat(),
        **(outcome.facts or {}),
    }


def render(outcome: SelfCheckOutcome) -> str:
    """Return the outcome for people."""
    if outcome.at is None:
        return "No self-check has run yet; `ctclip self-check --now` runs one."
    facts = outcome.facts or {}
    first = "the first of these weights: nothing to compare with yet" if facts.get("is_first") else ""
    difference = facts.get("largest_difference")
    compared = "" if difference is None else f"largest difference {difference:.6f}"
    lines = [f"self-check {outcome.state} at {outcome.at:%Y-%m-%d %H:%M:%S %Z}, job {outcome.job_id}", first, compared]
    return "\n".join([*filter(None, lines), *(f"  {failure}" for failure in facts.get("failures", ()))])


def _run_one(check: SelfCheck, engine: Engine, limit_s: float) -> None:
    job_id = check.submit()
    if job_id is None:
        raise Defect("no policy is active yet, so no job can be made")
    give_up_at = time.monotonic() + limit_s
    while not _is_judged(check, engine, job_id):
        if time.monotonic() > give_up_at:
            raise Defect(f"the job {job_id} did not end within {limit_s:g} s; it is judged when it does")
        time.sleep(_LOOK_EVERY_S)


def _is_judged(check: SelfCheck, engine: Engine, job_id: uuid.UUID) -> bool:
    check.judge_ended()
    return _fetch(engine).job_id == job_id


def _fetch(engine: Engine) -> SelfCheckOutcome:
    with transaction(engine) as session:
        return fetch_self_check(session)
