"""Health: truthful, by the dependency."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, delete, func, select
from sqlalchemy.engine import make_url

from shared.database import transaction
from shared.events import EventType
from shared.self_check import SELF_CHECK_TENANT, SelfCheckState
from shared.settings import Settings
from shared.states import JobState
from shared.tables import Event, Job, Policy
from tests.gateway.conftest import ZIP, RunningGateway, running_gateway


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def failed_check(engine: Engine) -> Iterator[None]:
    """A self-check that ended and failed, gone after the test."""
    job_id = uuid.uuid4()
    with transaction(engine) as session:
        policy_id = session.scalars(select(Policy.id).where(Policy.is_active)).first()
        job = {"policy_id": policy_id, "weights_profile": "demo", "deadline_at": func.now()}
        session.add(Job(id=job_id, tenant=SELF_CHECK_TENANT, state=JobState.FAILED, finished_at=func.now(), **job))
        session.flush()
        session.add(Event(job_id=job_id, type=EventType.SELF_CHECK, state=SelfCheckState.FAILED, facts={}))
    yield
    with transaction(engine) as session:
        session.execute(delete(Job).where(Job.id == job_id))


class TestHealth:
    def test_answers_as_the_predecessor_did(self, gateway: RunningGateway) -> None:
        answer = gateway.http.get("/health")
        assert (answer.status_code, answer.content) == (200, b'{"status":"healthy"}')

    def test_of_the_process_needs_nothing_else(self, gateway: RunningGateway) -> None:
        assert gateway.http.get("/livez").json() == {"status": "alive"}


class TestReadiness:
    def test_proves_every_dependency(self, gateway: RunningGateway) -> None:
        answer = gateway.http.get("/readyz")
        assert (answer.status_code, answer.json()) == (
            200,
            {
                "status": "ready",
                "checks": dict.fromkeys(("database", "schema", "policy", "storage"), "ok"),
                "monitors": {"self_check": "not_run"},
            },
        )

    def test_a_failed_self_check_is_told_and_stops_nothing(self, gateway: RunningGateway, failed_check: None) -> None:
        answer = gateway.http.get("/readyz")
        assert answer.status_code == 200
        assert answer.json()["monitors"] == {"self_check": "failed"}

    def test_names_a_policy_that_is_missing_and_takes_nothing_in(self, settings: Settings, engine: Engine) -> None:
        with running_gateway(settings.model_copy(update={"policy": "unknown"})) as other:
            answer, submitted = other.http.get("/readyz"), other.http.post("/v1/jobs", content=ZIP)
        assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
        assert answer.json()["checks"]["policy"] == "no_active_policy"
        assert (submitted.status_code, submitted.json()["code"]) == (503, "not_ready")
        assert "retry-after" in submitted.headers

    def test_names_a_database_without_our_schema(self, settings: Settings) -> None:
        url = make_url(settings.database_url.get_secret_value()).set(database="postgres")
        bare = Settings.model_validate(
            {**settings.model_dump(), "database_url": url.render_as_string(hide_password=False)}
        )
        with running_gateway(bare) as other:
            checks = other.http.get("/readyz").json()["checks"]
        assert (checks["database"], checks["schema"]) == ("ok", "schema_revision_differs")

    def test_names_a_storage_that_is_away(self, settings: Settings, engine: Engine, closed_port: int) -> None:
        away = settings.model_copy(update={"storage_endpoint": f"127.0.0.1:{closed_port}"})
        with running_gateway(away) as other:
            checks = other.http.get("/readyz").json()["checks"]
            submitted = other.http.post("/v1/jobs", content=ZIP, headers={"Idempotency-Key": "away"})
            again = other.http.post("/v1/jobs", content=ZIP, headers={"Idempotency-Key": "away"})
        assert (checks["database"], checks["storage"]) == ("ok", "storage_unavailable")
        for answer in (submitted, again):
            assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
            assert int(answer.headers["retry-after"]) >= 1

    def test_names_a_database_that_is_away(self, settings: Settings, closed_port: int) -> None:
        url = make_url(settings.database_url.get_secret_value()).set(port=closed_port)
        away = Settings.model_validate(
            {**settings.model_dump(), "database_url": url.render_as_string(hide_password=False)}
        )
        with running_gateway(away) as other:
            checks = other.http.get("/readyz").json()["checks"]
            jobs = other.http.get("/v1/jobs")
            assert other.http.get("/health").status_code == 200
        assert (checks["database"], checks["schema"], checks["storage"]) == ("database_unavailable", "unknown", "ok")
        assert (jobs.status_code, jobs.json()["code"]) == (503, "database_unavailable")
        assert str(closed_port) not in jobs.text


class TestMetrics:
    def test_measure_requests_by_the_template_of_their_route(self, gateway: RunningGateway) -> None:
        gateway.http.get("/v1/jobs/no-such-job")
        gateway.http.get("/somewhere")
        metrics = gateway.http.get("/metrics").text
        assert 'ctclip_request_seconds_count{method="GET",route="/v1/jobs/{job_id}",status="404"}' in metrics
        assert 'ctclip_problems_total{code="job_not_found"}' in metrics
        assert "no-such-job" not in metrics
        assert "/somewhere" not in metrics
