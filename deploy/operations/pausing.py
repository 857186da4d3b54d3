"""Pausing and resuming models of a platform, and who is told of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import select

from deploy.access.joined import joined
from deploy.operations.deeds import tell
from gateway.access.callers import COMMAND, OPERATOR_TENANT
from shared.database import make_engine
from shared.errors import TransientFault
from shared.pauses import Pause
from shared.settings import get_settings
from shared.stages import StageName
from workers.control.pausing import skip_paused_stages

_MODELS = "/v1/models"


def pause(state: Path | None, stage: StageName, reason: str) -> int | None:
    """Pause a model and let what waits for it go on; return how many jobs waited, None where it was paused already."""
    with joined(state) as session:
        if session.get(Pause, stage) is not None:
            return None
        session.add(Pause(stage=stage, reason=reason, paused_by=COMMAND))
        tell(session, f"models pause {stage}", OPERATOR_TENANT, _MODELS)
    return _skip_waiting()


def resume(state: Path | None, stage: StageName) -> bool:
    """Let a model run again; False where it was not paused."""
    with joined(state) as session:
        kept = session.get(Pause, stage)
        if kept is None:
            return False
        session.delete(kept)
        tell(session, f"models resume {stage}", OPERATOR_TENANT, _MODELS)
    return True


def fetch_pauses(state: Path | None) -> Sequence[Pause]:
    """Return what is paused, the longest paused first."""
    with joined(state) as session:
        return session.scalars(select(Pause).order_by(Pause.paused_at)).all()


def _skip_waiting() -> int:
    """Let everything that waits go on at once, as control would within seconds."""
    engine, skipped = make_engine(get_settings(), pool_size=1, application_name="ctclip-command"), 0
    try:
        while found := skip_paused_stages(engine):
            skipped += found
    except TransientFault:
        return skipped  # control does the rest
    finally:
        engine.dispose()
    return skipped
