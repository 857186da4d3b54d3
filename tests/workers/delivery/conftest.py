"""A gateway, a receiver of webhooks, and the delivery worker's own loop between them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Engine, delete, func, select, update

from shared.database import transaction
from shared.settings import Settings
from shared.states import DeliveryState
from shared.tables import WebhookDelivery, WebhookEndpoint
from tests.gateway.conftest import RunningGateway, engine, gateway, settings, store
from tests.gateway.pipeline import finish_job
from tests.gateway.receiver import Receiver, running_receiver
from workers.delivery.deliverer import Deliverer, make_deliverer

__all__ = ["engine", "gateway", "settings", "store"]  # the fixtures of the gateway's tests serve here too


@dataclass(frozen=True)
class Webhooks:
    """What a test does with webhooks. Nothing is sent but by `deliver`."""

    gateway: RunningGateway
    engine: Engine
    receiver: Receiver
    deliverer: Deliverer

    def create(self, url: str | None = None, **fields: object) -> dict[str, Any]:
        answer = self.gateway.http.post("/v1/webhooks", json={"url": url or self.receiver.url, **fields})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def call(self, webhook: dict[str, Any], route: str, **body: object) -> dict[str, Any]:
        answer = self.gateway.http.post(f"/v1/webhooks/{webhook['id']}/{route}", json=body or None)
        assert answer.is_success, answer.text
        answered: dict[str, Any] = answer.json()
        return answered

    def read(self, webhook: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.gateway.http.get(f"/v1/webhooks/{webhook['id']}").json()
        return found

    def list_deliveries(self, webhook: dict[str, Any]) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.gateway.http.get(f"/v1/webhooks/{webhook['id']}/deliveries").json()["items"]
        return items

    def submit(self, **options: str) -> uuid.UUID:
        answer = self.gateway.http.post("/v1/jobs", files={"file": ("s.zip", b"PK\x03\x04")}, data=options)
        assert answer.status_code == 202, answer.text
        return uuid.UUID(answer.json()["id"])

    def finish(self, **options: str) -> uuid.UUID:
        """Submit a study and bring its job to its result."""
        job_id = self.submit(**options)
        finish_job(self.engine, job_id)
        return job_id

    def deliver(self) -> int:
        """Send what is due, each once; return how much that was."""
        return asyncio.run(self.deliverer.deliver_due())

    def deliver_all(self) -> None:
        """Send until nothing is due."""
        while self.deliver():
            pass

    def wait_in_seconds(self) -> float:
        """Return how long the one pending message still waits, by the database's clock."""
        wait = func.extract("epoch", WebhookDelivery.next_attempt_at - func.now())
        with transaction(self.engine) as session:
            return float(session.scalars(select(wait).where(WebhookDelivery.state == DeliveryState.PENDING)).one())

    def let_claims_lapse(self) -> None:
        """Make every claim end now, as if its time had passed."""
        with transaction(self.engine) as session:
            held = WebhookDelivery.lease_expires_at.is_not(None)
            session.execute(update(WebhookDelivery).where(held).values(lease_expires_at=func.now()))

    def let_time_pass(self) -> None:
        """Make every pending message due, as if its delay had passed."""
        with transaction(self.engine) as session:
            pending = WebhookDelivery.state == DeliveryState.PENDING
            session.execute(update(WebhookDelivery).where(pending).values(next_attempt_at=func.now()))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as running:
        yield running


@pytest.fixture(scope="session")
def deliverer(engine: Engine, settings: Settings) -> Deliverer:
    return make_deliverer(engine, settings)


@pytest.fixture
def webhooks(gateway: RunningGateway, engine: Engine, receiver: Receiver, deliverer: Deliverer) -> Iterator[Webhooks]:
    yield Webhooks(gateway, engine, receiver, deliverer)
    with transaction(engine) as session:
        session.execute(delete(WebhookEndpoint))
        session.execute(delete(WebhookDelivery))
