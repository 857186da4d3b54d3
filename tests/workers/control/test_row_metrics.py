"""Metrics of rows: what control tells Prometheus of a real database and a real broker."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from prometheus_client.core import GaugeMetricFamily
from sqlalchemy import Engine, func, update

from shared.database import make_engine, transaction
from shared.outbox import publish_stages
from shared.settings import Settings
from shared.stages import StageName
from shared.tables import Outbox
from tests.workers.runtime.conftest import JobMaker, make_job
from workers.control.row_metrics import ROW_METRICS, RowMetrics
from workers.runtime.celery_app import make_celery
from workers.runtime.lease import claim

__all__ = ["make_job"]  # the fixture of the runtime's tests serves here too

INTAKE_READY = {"stage": "intake", "state": "ready"}


@pytest.fixture
def metrics(engine: Engine, settings: Settings) -> RowMetrics:
    return RowMetrics(engine, make_celery(settings))


def read(metrics: RowMetrics, name: str, **labels: str) -> float:
    families: dict[str, GaugeMetricFamily] = {family.name: family for family in metrics.collect()}
    return next((sample.value for sample in families[name].samples if sample.labels == labels), math.nan)


class TestRowMetrics:
    def test_tell_what_waits_and_for_how_long(self, engine: Engine, metrics: RowMetrics, make_job: JobMaker) -> None:
        before = read(metrics, "ctclip_stages_open", **INTAKE_READY)
        messages = read(metrics, "ctclip_outbox_messages")
        job_id = make_job(ready_at=func.now() - timedelta(minutes=5))
        with transaction(engine) as session:
            publish_stages(session, job_id, [StageName.INTAKE], priority=5)
        with transaction(engine) as session:
            an_hour_ago = func.now() - timedelta(hours=1)
            session.execute(update(Outbox).where(Outbox.job_id == job_id).values(created_at=an_hour_ago))
        assert read(metrics, "ctclip_stages_open", **INTAKE_READY) == before + 1
        assert read(metrics, "ctclip_stage_oldest_ready_seconds", stage="intake") >= 300
        assert read(metrics, "ctclip_outbox_messages") == messages + 1
        assert read(metrics, "ctclip_outbox_oldest_seconds") >= 3600
        assert read(metrics, "ctclip_jobs_open", state="queued") >= 1

    def test_tell_of_a_lapsed_lease(self, engine: Engine, metrics: RowMetrics, make_job: JobMaker) -> None:
        before = read(metrics, "ctclip_leases_overdue")
        job_id = make_job()
        with transaction(engine) as session:
            claim(session, job_id, StageName.INTAKE, worker="w", duration=timedelta(minutes=-1))
        assert read(metrics, "ctclip_leases_overdue") > before

    def test_have_a_value_for_every_stage_also_where_nothing_is(self, metrics: RowMetrics) -> None:
        families = {family.name: family for family in metrics.collect()}
        for name in ("ctclip_stages_open", "ctclip_broker_messages", "ctclip_dead_letters"):
            assert {sample.labels["stage"] for sample in families[name].samples} == set(StageName), name

    def test_are_all_there_and_described_without_asking_anybody(self, metrics: RowMetrics, settings: Settings) -> None:
        nowhere = settings.model_copy(
            update={"database_url": type(settings.database_url)("postgresql+psycopg2://none")}
        )
        silent = RowMetrics(make_engine(nowhere), make_celery(settings))
        names = {metric.name for metric in ROW_METRICS}
        assert {family.name for family in silent.describe()} == names == {family.name for family in metrics.collect()}

    def test_say_that_the_database_is_away(self, settings: Settings) -> None:
        url = "postgresql+psycopg2://nobody:none@127.0.0.1:9/none"
        away = settings.model_copy(update={"database_url": type(settings.database_url)(url)})
        metrics = RowMetrics(make_engine(away), make_celery(settings))
        assert read(metrics, "ctclip_database_up") == 0
        assert read(metrics, "ctclip_broker_up") == 1
        assert "ctclip_outbox_messages" not in {family.name for family in metrics.collect()}

    def test_say_that_the_broker_is_away(self, engine: Engine, settings: Settings) -> None:
        away = settings.model_copy(update={"broker_url": type(settings.broker_url)("redis://127.0.0.1:9/0")})
        metrics = RowMetrics(engine, make_celery(away))
        assert read(metrics, "ctclip_broker_up") == 0
        assert read(metrics, "ctclip_database_up") == 1
