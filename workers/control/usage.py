"""What the tenants' objects take, added up every few minutes where a limit asks for it."""

from __future__ import annotations

import threading

from sqlalchemy import Engine, text

from shared.database import transaction
from shared.errors import TransientFault
from shared.telemetry import get_logger

_log = get_logger()
_INTERVAL_S = 300.0

# An object that jobs share is counted for each of them: so it is never free for the last one. An upload in parts has a
# key from when it is put together until a job owns it, and its parts before that.
_ADD_UP = text(
    """
    INSERT INTO tenant_usage (tenant, stored_bytes)
    SELECT tenant, sum(size_bytes) FROM (
        SELECT jobs.tenant, artefacts.size_bytes FROM artefacts JOIN jobs ON jobs.id = artefacts.job_id
        UNION ALL
        SELECT uploads.tenant, parts.size_bytes FROM upload_parts AS parts JOIN uploads ON uploads.id = parts.upload_id
        UNION ALL
        SELECT tenant, size_bytes FROM uploads WHERE key IS NOT NULL
    ) AS kept GROUP BY tenant
    ON CONFLICT (tenant) DO UPDATE SET stored_bytes = excluded.stored_bytes, measured_at = now()
    """
)
_FORGET = text("DELETE FROM tenant_usage WHERE measured_at < now()")


class TenantUsages:
    """Adds up the sizes of artefacts and of uploads by tenant. Any number may run: each writes the same."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def run(self, stopped: threading.Event) -> None:
        """Add up until told to stop; a fault of the database is waited out."""
        pause_s = 0.0
        while not stopped.wait(pause_s):
            pause_s = _INTERVAL_S
            try:
                self.add_up()
            except TransientFault as fault:
                _log.warning("adding up of sizes waits", reason=str(fault))

    def add_up(self) -> None:
        """Add up once; tenants that have nothing left are forgotten."""
        with transaction(self._engine) as session:
            session.execute(_ADD_UP)
            session.execute(_FORGET)
