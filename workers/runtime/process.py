"""One worker process: loads its stages, tells when it is ready, runs messages, hands work back when stopped."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Sequence
from functools import partial

import structlog
from celery import signals
from opentelemetry.trace import SpanKind

from shared.database import make_engine
from shared.metrics import serve_metrics
from shared.settings import Settings
from shared.stages import StageName
from shared.storage import ObjectStore
from shared.telemetry import configure_logging, get_logger
from shared.tracing import configure_tracing, start_span
from workers.runtime.celery_app import make_celery, make_worker_arguments, stage_tasks
from workers.runtime.heartbeat import Heartbeat
from workers.runtime.registry import make_stages
from workers.runtime.retirement import RETIREMENT
from workers.runtime.runner import StageRunner

_log = get_logger()


def run_worker(settings: Settings, stages: Sequence[StageName], *, name: str, concurrency: int) -> None:
    """Run a worker until it is told to stop."""
    configure_logging(settings, process=name)
    configure_tracing(settings, process=name)
    engine = make_engine(settings, pool_size=2 * concurrency + 2, application_name=f"ctclip-{name}")
    store = ObjectStore(settings)
    store.ensure_bucket()
    heartbeat = Heartbeat(engine, settings)
    runner = StageRunner(
        make_stages(stages, settings),
        settings,
        engine=engine,
        store=store,
        heartbeat=heartbeat,
        worker=f"{name}@{socket.gethostname()}:{os.getpid()}",
    )
    # Celery would set up logs of its own: with its level for its words it would silence ours.
    signals.setup_logging.connect(lambda **_: None, weak=False)
    app = make_celery(settings)
    stage_tasks(app, partial(_run_bound, runner))
    heartbeat.start()
    runner.start_expiring()
    serve_metrics(settings, stages)
    _connect_signals(settings, heartbeat)
    RETIREMENT.arm(settings)
    app.worker_main(make_worker_arguments(name, stages, concurrency))


def _run_bound(runner: StageRunner, job_id: uuid.UUID, stage: StageName, traceparent: str | None) -> None:
    facts = {"ctclip.job_id": str(job_id), "ctclip.stage": str(stage)}
    with (
        structlog.contextvars.bound_contextvars(job_id=str(job_id), stage=stage),
        start_span(f"run {stage}", traceparent=traceparent, kind=SpanKind.CONSUMER, attributes=facts),
    ):
        runner.run(job_id, stage)


def _connect_signals(settings: Settings, heartbeat: Heartbeat) -> None:
    """Make the ready file once messages are consumed, and hand work back some time after a stop was asked for."""

    def tell_ready(**_: object) -> None:
        _log.info("worker ready")
        if settings.ready_file is not None:
            settings.ready_file.touch()

    def limit_shutdown(**_: object) -> None:
        grace_s = settings.shutdown_grace.total_seconds()
        timer = threading.Timer(grace_s, _hand_back_and_exit, args=(heartbeat,))
        timer.daemon = True
        timer.start()

    signals.worker_ready.connect(tell_ready, weak=False)
    signals.worker_shutting_down.connect(limit_shutdown, weak=False)


def _hand_back_and_exit(heartbeat: Heartbeat) -> None:
    """End the process although stages still run: their leases are released first, so nothing waits for them."""
    try:
        heartbeat.release_all()
    except Exception as error:  # noqa: BLE001  # process edge: the leases lapse by themselves
        _log.error("leases could not be released", exc_info=error)
    os._exit(0)
