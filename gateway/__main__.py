"""`python -m gateway`: serve until stopped."""

from __future__ import annotations

import math
import socket
import sys
from pathlib import Path

import uvicorn

from gateway.app import create_app
from gateway.resources import Resources
from shared.addresses import is_loopback
from shared.settings import Authentication, Settings, get_settings
from shared.telemetry import configure_logging, get_logger
from shared.tracing import configure_tracing

_log = get_logger()
# Longer than most clients keep a connection, so that it is they who close it.
_KEEP_ALIVE_S = 75


class AnnouncedServer(uvicorn.Server):
    """A server that makes a file once it serves, and lets go who waits when it stops."""

    def __init__(self, config: uvicorn.Config, resources: Resources, ready_file: Path | None) -> None:
        super().__init__(config)
        self._resources = resources
        self._ready_file = ready_file

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let go who only waits here, and give those who send or fetch something the time that the settings say."""
        self._resources.let_go()
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        if self.started and self._ready_file is not None:
            self._ready_file.touch()
            _log.info("gateway ready")


def main() -> None:
    """Serve on the address of the settings."""
    settings = get_settings()
    configure_logging(settings, process="gateway")
    configure_tracing(settings, process="gateway")
    if settings.authentication is Authentication.OFF and not is_loopback(settings.gateway_host):
        sys.exit(
            f"CTCLIP_GATEWAY_HOST={settings.gateway_host}: only loopback, while authentication is off. "
            "CTCLIP_AUTHENTICATION=required turns it on."
        )
    make_server(settings).run()


def make_server(settings: Settings) -> AnnouncedServer:
    """Return the server, not yet listening."""
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.gateway_host,
        port=settings.gateway_port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=math.ceil(settings.gateway_shutdown_grace.total_seconds()),
    )
    return AnnouncedServer(config, app.state.resources, settings.ready_file)


if __name__ == "__main__":
    main()
