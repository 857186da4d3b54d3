"""`python -m workers.control`: register what is installed, then relay, reap, expire and sweep until stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

from prometheus_client import REGISTRY
from sqlalchemy import Engine

from shared.database import make_engine
from shared.errors import Defect, TransientFault
from shared.metrics import serve_metrics
from shared.settings import Settings, get_settings
from shared.storage import ObjectStore
from shared.telemetry import configure_logging, get_logger
from shared.tracing import configure_tracing
from workers.control.queue_marks import QueueMarks
from workers.control.reaper import Reaper
from workers.control.registration import register_installation
from workers.control.relay import Relay
from workers.control.retention import Retention
from workers.control.row_metrics import RowMetrics
from workers.control.sweeper import sweep
from workers.control.usage import TenantUsages
from workers.runtime.celery_app import make_celery
from workers.runtime.stopping import install_stop_signals
from workers.self_check import SelfCheck

_log = get_logger()
_SWEEP_INTERVAL = timedelta(hours=1)


def main() -> None:
    """Run all control loops in one process."""
    settings = get_settings()
    configure_logging(settings, process="control")
    configure_tracing(settings, process="control")
    engine = make_engine(settings, application_name="ctclip-control")
    store = ObjectStore(settings)
    store.ensure_bucket()
    try:
        register_installation(engine, settings)
    except Defect as error:
        raise SystemExit(f"Control cannot start: {error}") from error
    stopped = threading.Event()
    install_stop_signals(stopped)
    _tell_rows(settings)
    serve_metrics(settings)
    loops = _start_loops(engine, store, settings, stopped)
    if settings.ready_file is not None:
        settings.ready_file.touch()
    _log.info("control ready")
    for loop in loops:
        loop.join()


def _tell_rows(settings: Settings) -> None:
    """Answer Prometheus over a connection of its own: a question must not keep a loop waiting."""
    engine = make_engine(settings, pool_size=1, application_name="ctclip-control-metrics")
    REGISTRY.register(RowMetrics(engine, make_celery(settings)))


def _start_loops(
    engine: Engine, store: ObjectStore, settings: Settings, stopped: threading.Event
) -> list[threading.Thread]:
    relay = Relay(engine, make_celery(settings), settings)
    reaper = Reaper(engine, settings, make_celery(settings))
    marks = QueueMarks(engine)
    usages = TenantUsages(engine)
    self_check = SelfCheck(engine, store, settings)
    retention = Retention(engine, store, settings)
    loops: dict[str, Callable[[], None]] = {
        "relay": lambda: relay.run(stopped),
        "reaper": lambda: reaper.run(stopped),
        "marks": lambda: marks.run(stopped),
        "retention": lambda: retention.run(stopped),
        "self_check": lambda: self_check.run(stopped),
        "sweeper": lambda: _sweep_hourly(engine, store, stopped),
    }
    if settings.tenant_storage_limit_bytes is not None:
        loops["usages"] = lambda: usages.run(stopped)
    threads = [threading.Thread(target=_guard(run, stopped), name=name) for name, run in loops.items()]
    for thread in threads:
        thread.start()
    return threads


def _guard(run: Callable[[], None], stopped: threading.Event) -> Callable[[], None]:
    """Return `run` such that its defect stops the whole process: half a control process would go unnoticed."""

    def guarded() -> None:
        try:
            run()
        except Exception:  # process edge: the supervisor starts us again
            _log.exception("control loop died")
            raise
        finally:
            stopped.set()

    return guarded


def _sweep_hourly(engine: Engine, store: ObjectStore, stopped: threading.Event) -> None:
    while not stopped.wait(_SWEEP_INTERVAL.total_seconds()):
        try:
            sweep(engine, store)
        except TransientFault as fault:
            _log.warning("sweeper waits", reason=str(fault))


if __name__ == "__main__":
    main()
