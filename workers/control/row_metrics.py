"""Metrics of what stands in rows and in the broker, read whenever Prometheus asks: a restart forgets nothing of them.

Several control processes tell the same; queries take the largest of them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from celery import Celery
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Engine

from shared.database import transaction
from shared.errors import TransientFault
from shared.stages import StageName
from shared.telemetry import get_logger
from workers.control.row_queries import CHEAP, COSTLY, RowMetric, Samples
from workers.runtime.celery_app import count_all_messages

_log = get_logger()
_COSTLY_EVERY_S = 300.0

DATABASE_UP = RowMetric("ctclip_database_up", "1 where control could read the database.", ())
BROKER_UP = RowMetric("ctclip_broker_up", "1 where control could ask the broker.", ())
BROKER_MESSAGES = RowMetric(
    "ctclip_broker_messages",
    "Messages of a stage that wait in the broker; those under way are not counted.",
    ("stage",),
)

ROW_METRICS = (DATABASE_UP, BROKER_UP, BROKER_MESSAGES, *CHEAP, *COSTLY)
"""Everything that control tells of rows and of the broker."""


@dataclass
class _Kept:
    """What was read at `read_at`, by `time.monotonic`."""

    samples: Mapping[str, Samples]
    read_at: float


class RowMetrics(Collector):
    """Reads the metrics of rows. What costs more than a look into an index is read every five minutes."""

    def __init__(self, engine: Engine, app: Celery) -> None:
        self._engine = engine
        self._app = app
        self._costly: _Kept | None = None
        self._lock = threading.Lock()  # one look at a time, however many ask

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Return the metrics without values: nothing is asked before Prometheus does."""
        return (_make_family(metric, ()) for metric in ROW_METRICS)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return the metrics as they are now; where something cannot be asked, only that it is so."""
        with self._lock:
            found = {**self._read_database(), **self._read_broker()}
        return (_make_family(metric, found[metric.name]) for metric in ROW_METRICS if metric.name in found)

    def _read_database(self) -> Mapping[str, Samples]:
        try:
            cheap = self._read(CHEAP)
        except TransientFault as fault:
            _log.warning("rows could not be counted", code=fault.code)
            return {DATABASE_UP.name: [((), 0.0)]}
        return {DATABASE_UP.name: [((), 1.0)], **cheap, **self._read_costly()}

    def _read_costly(self) -> Mapping[str, Samples]:
        """Return what was read within five minutes; what takes too long to read is left at its last value."""
        kept = self._costly
        if kept is not None and time.monotonic() - kept.read_at < _COSTLY_EVERY_S:
            return kept.samples
        try:
            samples = self._read(COSTLY)
        except TransientFault as fault:
            _log.warning("objects could not be added up", code=fault.code)
            samples = {} if kept is None else kept.samples
        self._costly = _Kept(samples, time.monotonic())
        return samples

    def _read(self, metrics: Iterable[RowMetric]) -> Mapping[str, Samples]:
        with transaction(self._engine) as session:
            return {metric.name: list(metric.read(session)) for metric in metrics}

    def _read_broker(self) -> Mapping[str, Samples]:
        try:
            messages = count_all_messages(self._app)
        except TransientFault as fault:
            _log.warning("messages could not be counted", code=fault.code)
            return {BROKER_UP.name: [((), 0.0)]}
        counted: Samples = [((str(stage),), float(messages[stage])) for stage in StageName if stage in messages]
        return {BROKER_UP.name: [((), 1.0)], BROKER_MESSAGES.name: counted}


def _make_family(metric: RowMetric, samples: Samples) -> GaugeMetricFamily:
    family = GaugeMetricFamily(metric.name, metric.documentation, labels=metric.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family
