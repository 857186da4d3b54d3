"""The whole examination: every link at once, each with a limit, so that one that hangs hides no other."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from celery import Celery
from sqlalchemy import Engine

from deploy.doctor.broker import look_at_broker
from deploy.doctor.database import look_at_clock, look_at_database
from deploy.doctor.device import look_at_device
from deploy.doctor.finding import Finding, Link, unknown
from deploy.doctor.room import look_at_room
from deploy.doctor.storage import look_at_storage
from deploy.doctor.webhooks import look_at_webhooks
from deploy.doctor.weights import look_at_registration, look_at_weights
from deploy.doctor.workers import look_at_workers
from shared.database import make_engine
from shared.errors import TransientFault
from shared.settings import Settings
from workers.runtime.celery_app import make_celery

LIMIT_S = 90.0
"""How long a link is looked at; reading the digests of large weights takes the longest."""

_CONNECTIONS = 6

Look = Callable[[], Iterable[Finding]]


def examine(settings: Settings) -> list[Link]:
    """Return every link with what was found about it."""
    engine = make_engine(settings, pool_size=_CONNECTIONS, application_name="ctclip-doctor")
    try:
        return look_at_all(_list_looks(settings, engine, make_celery(settings)), limit_s=LIMIT_S)
    finally:
        engine.dispose()


def look_at_all(looks: Mapping[str, Look], *, limit_s: float) -> list[Link]:
    """Take all looks at once; one that does not come back in time is left behind and told of."""
    ended: queue.SimpleQueue[Link] = queue.SimpleQueue()
    for name, look in looks.items():
        # Not waited for at the exit: what hangs in a library cannot be ended otherwise.
        threading.Thread(target=_take, args=(name, look, ended), name=f"doctor-{name}", daemon=True).start()
    links = {link.name: link for link in _collect(ended, len(looks), time.monotonic() + limit_s)}
    return [links.get(name) or _tell_silence(name, limit_s) for name in looks]


def _list_looks(settings: Settings, engine: Engine, app: Celery) -> Mapping[str, Look]:
    return {
        "database": lambda: look_at_database(engine, settings),
        "clock": lambda: look_at_clock(engine),
        "broker": lambda: look_at_broker(app, settings),
        "storage": lambda: look_at_storage(settings),
        "weights": lambda: _look_at_all_weights(engine, settings),
        "gpu": look_at_device,
        "scratch": lambda: look_at_room(settings),
        "workers": lambda: look_at_workers(engine, app),
        "webhooks": lambda: look_at_webhooks(engine),
    }


def _look_at_all_weights(engine: Engine, settings: Settings) -> Iterator[Finding]:
    yield from look_at_weights(settings)
    yield from look_at_registration(engine, settings)


def _take(name: str, look: Look, ended: queue.SimpleQueue[Link]) -> None:
    started = time.monotonic()
    findings: list[Finding] = []
    try:
        findings.extend(look())
    except TransientFault:
        findings.append(unknown("database", "Not looked at: the database cannot be used.", "Mend the database first."))
    except Exception as error:  # noqa: BLE001  # a doctor that falls ill tells so, and looks at the others
        told = f"The look itself failed: {type(error).__name__} {str(error).strip()[:200]}"
        findings.append(unknown("doctor", told, "Migrate the database if it is not; else this is a defect of ours."))
    ended.put(Link(name, findings, time.monotonic() - started))


def _collect(ended: queue.SimpleQueue[Link], count: int, deadline: float) -> Iterator[Link]:
    for _ in range(count):
        try:
            yield ended.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return


def _tell_silence(name: str, limit_s: float) -> Link:
    told = f"It did not come back within {limit_s:.0f} s."
    return Link(name, [unknown("time", told, "Something answers and then hangs: look at its log.")], limit_s)
