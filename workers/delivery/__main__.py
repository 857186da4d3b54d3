"""`python -m workers.delivery`: deliver webhooks until stopped."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from shared.database import make_engine
from shared.metrics import serve_metrics
from shared.settings import get_settings
from shared.telemetry import configure_logging, get_logger
from shared.tracing import configure_tracing
from workers.delivery.deliverer import AT_ONCE, Deliverer, make_deliverer
from workers.runtime.stopping import install_stop_signals

_log = get_logger()
_CONNECTIONS = 10


def main() -> None:
    """Run the loop in this process."""
    settings = get_settings()
    configure_logging(settings, process="worker-delivery")
    configure_tracing(settings, process="worker-delivery")
    engine = make_engine(settings, pool_size=_CONNECTIONS, application_name="ctclip-worker-delivery")
    stopped = threading.Event()
    install_stop_signals(stopped)
    serve_metrics(settings)
    if settings.ready_file is not None:
        settings.ready_file.touch()
    _log.info("delivery ready")
    asyncio.run(_deliver(make_deliverer(engine, settings), stopped))


async def _deliver(deliverer: Deliverer, stopped: threading.Event) -> None:
    # Names are looked up on the loop's own threads, one for each message that may be under way.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(AT_ONCE, thread_name_prefix="names"))
    await deliverer.run(stopped)


if __name__ == "__main__":
    main()
