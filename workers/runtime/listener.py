"""Waiting for PostgreSQL's notifications: a commit that left work wakes who does it."""

from __future__ import annotations

import select

import psycopg2
from sqlalchemy.engine import make_url

from shared.settings import Settings

_CONNECT_TIMEOUT_S = 5


class Listener:
    """One connection that listens on one channel. Raises psycopg2.Error when it cannot, or no longer."""

    def __init__(self, settings: Settings, channel: str) -> None:
        url = make_url(settings.database_url.get_secret_value()).set(drivername="postgresql")
        address = url.render_as_string(hide_password=False)
        self._connection = psycopg2.connect(address, connect_timeout=_CONNECT_TIMEOUT_S)
        self._connection.autocommit = True
        with self._connection.cursor() as cursor:
            cursor.execute(f"LISTEN {channel}")

    def wait(self, limit_s: float) -> None:
        """Wait for a notification, at most so long. It can be lost with its connection: look at the rows too."""
        select.select([self._connection], [], [], limit_s)
        self._connection.poll()
        self._connection.notifies.clear()

    def close(self) -> None:
        """Stop listening."""
        self._connection.close()
