"""Messages from the end of a job to a receiver: signed, in order, tried again, given up, replayed."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session
from standardwebhooks import WebhookVerificationError

from shared.database import transaction
from shared.errors import InputProblem
from shared.problems import ProblemCode
from shared.states import DeliveryState
from shared.tables import WebhookDelivery, WebhookEndpoint
from tests.gateway.pipeline import end_intake
from tests.workers.delivery.conftest import Webhooks
from workers.delivery.claims import ORDER_PATIENCE, _select_due, claim_due
from workers.delivery.outcomes import FORGOTTEN_AT_ONCE, record_outcome
from workers.delivery.schedule import DELAYS, JITTER
from workers.delivery.sending import Outcome


class TestTheEndOfAJob:
    def test_is_told_with_a_signature_that_the_secret_verifies(self, webhooks: Webhooks) -> None:
        webhook = webhooks.create()
        job_id = webhooks.finish()
        assert webhooks.deliver() == 1
        (message,) = webhooks.receiver.messages
        payload = message.verify(webhook["secret"])
        assert payload["type"] == "job.completed_partial"
        assert payload["data"] == {
            "job_id": str(job_id),
            "state": "completed_partial",
            "code": None,
            "links": {"self": f"/v1/jobs/{job_id}", "result": f"/v1/jobs/{job_id}/result"},
        }
        assert message.headers["content-type"] == "application/json"
        assert len(message.body) < 20_000
        (delivery,) = webhooks.list_deliveries(webhook)
        assert (delivery["id"], delivery["state"], delivery["attempt"], delivery["status_code"]) == (
            message.id,
            "delivered",
            1,
            204,
        )
        assert webhooks.deliver() == 0

    def test_is_shown_by_the_delivery_stage(self, webhooks: Webhooks) -> None:
        untold = webhooks.finish()
        webhooks.create()
        told = webhooks.submit()
        states = [self._get_delivery(webhooks, job_id) for job_id in (untold, told)]
        assert states == [("skipped", "no_callback"), ("waiting", None)]
        webhooks.gateway.http.post(f"/v1/jobs/{told}/cancel")
        assert self._get_delivery(webhooks, told) == ("succeeded", None)

    def _get_delivery(self, webhooks: Webhooks, job_id: uuid.UUID) -> tuple[str, str | None]:
        stage = webhooks.gateway.http.get(f"/v1/jobs/{job_id}").json()["stages"][-1]
        return stage["state"], stage["reason"]

    def test_names_the_code_of_a_refused_study(self, webhooks: Webhooks) -> None:
        webhook = webhooks.create(events=["job.rejected"])
        job_id = webhooks.submit()
        problem = InputProblem(ProblemCode.NO_DICOM_IMAGES, "Only text.")
        end_intake(webhooks.engine, webhooks.gateway.settings, job_id, [problem])
        webhooks.deliver()
        data = webhooks.receiver.messages[0].verify(webhook["secret"])["data"]
        assert (data["state"], data["code"], data["links"]["result"]) == ("rejected", "no_dicom_images", None)

    def test_is_not_told_to_who_asked_for_other_events_or_is_another_tenant(self, webhooks: Webhooks) -> None:
        webhooks.create(events=["job.failed"])
        foreign = webhooks.create()
        with transaction(webhooks.engine) as session:
            session.get_one(WebhookEndpoint, uuid.UUID(foreign["id"])).tenant = "another"
        webhooks.finish()
        assert webhooks.deliver() == 0

    def test_of_one_job_goes_to_its_callback_signed_with_the_default_secret(self, webhooks: Webhooks) -> None:
        secret = webhooks.gateway.http.get("/v1/webhooks/default-secret").json()["secret"]
        job_id = webhooks.finish(callback_url=f"{webhooks.receiver.url}?case=7")
        assert webhooks.deliver() == 1
        (message,) = webhooks.receiver.messages
        assert message.path == "/hook?case=7"
        assert message.verify(secret)["data"]["job_id"] == str(job_id)
        with pytest.raises(WebhookVerificationError):
            message.verify("whsec_" + "A" * 43 + "=")
        (delivery,) = webhooks.gateway.http.get(f"/v1/jobs/{job_id}/deliveries").json()["items"]
        assert (delivery["state"], delivery["tries"][0]["status_code"]) == ("delivered", 204)


class TestAReceiverThatFails:
    def test_is_tried_ten_times_by_the_schedule_and_then_disabled(self, webhooks: Webhooks) -> None:
        webhook = webhooks.create()
        watcher = webhooks.create(events=["webhook.disabled"])
        webhooks.receiver.status = 500
        webhooks.finish()
        for delay in DELAYS[1:]:
            assert webhooks.deliver() == 1
            wait = webhooks.wait_in_seconds()
            assert delay.total_seconds() - 5 <= wait <= delay.total_seconds() * (1 + JITTER)
            webhooks.let_time_pass()
        assert webhooks.deliver() == 1
        assert len({message.id for message in webhooks.receiver.messages}) == 1
        (delivery,) = webhooks.list_deliveries(webhook)
        assert (delivery["state"], delivery["reason"], delivery["attempt"]) == ("failed", "tries_exhausted", 10)
        assert [one["attempt"] for one in delivery["tries"]] == list(range(1, 11))
        found = webhooks.read(webhook)
        assert (found["enabled"], found["disabled_reason"]) == (False, "failing")
        webhooks.receiver.status = 204
        webhooks.deliver()
        told = webhooks.receiver.messages[-1].verify(watcher["secret"])
        assert (told["type"], told["data"]) == ("webhook.disabled", {"webhook_id": webhook["id"], "reason": "failing"})

    def test_stays_enabled_while_it_takes_other_messages(self, webhooks: Webhooks) -> None:
        webhook = webhooks.create()
        refused = webhooks.finish()
        webhooks.receiver.status = 500
        for _ in range(9):
            webhooks.deliver()
            webhooks.let_time_pass()
        with transaction(webhooks.engine) as session:  # so old that later ones pass it
            session.execute(update(WebhookDelivery).values(queued_at=func.now() - 2 * ORDER_PATIENCE))
            session.execute(update(WebhookDelivery).values(next_attempt_at=func.now() + timedelta(hours=1)))
        webhooks.receiver.status = 204
        webhooks.finish()
        assert webhooks.deliver() == 1
        webhooks.receiver.status = 500
        webhooks.let_time_pass()
        webhooks.deliver()
        given_up = [one for one in webhooks.list_deliveries(webhook) if one["state"] == "failed"]
        assert [one["job_id"] for one in given_up] == [str(refused)]
        assert webhooks.read(webhook)["enabled"] is True

    def test_that_says_gone_is_disabled_at_once(self, webhooks: Webhooks) -> None:
        webhook = webhooks.create()
        webhooks.receiver.status = 410
        webhooks.finish()
        webhooks.finish()
        assert webhooks.deliver() == 1
        found = webhooks.read(webhook)
        assert (found["enabled"], found["disabled_reason"]) == (False, "gone")
        reasons = [one["reason"] for one in webhooks.list_deliveries(webhook)]
        assert reasons == ["endpoint_gone", "gone"]
        assert webhooks.deliver() == 0
        webhooks.finish()
        assert len(webhooks.list_deliveries(webhook)) == 2

    def test_holds_up_no_other(self, webhooks: Webhooks) -> None:
        webhooks.create("http://127.0.0.1:1999/nobody")
        webhooks.create()
        webhooks.finish()
        webhooks.finish()
        assert [webhooks.deliver(), webhooks.deliver()] == [2, 1]
        assert len(webhooks.receiver.messages) == 2


class TestOrder:
    def test_is_that_of_the_jobs_ends_while_an_earlier_message_has_its_chance(self, webhooks: Webhooks) -> None:
        webhook = webhooks.create()
        webhooks.receiver.status = 503
        first, second = webhooks.finish(), webhooks.finish()
        assert webhooks.deliver() == 1
        assert webhooks.deliver() == 0  # the first waits for its second try, the second for the first
        webhooks.receiver.status = 204
        webhooks.let_time_pass()
        webhooks.deliver_all()
        told = [message.verify(webhook["secret"])["data"]["job_id"] for message in webhooks.receiver.messages]
        assert told == [str(first), str(first), str(second)]

    def test_is_given_up_for_a_message_that_nobody_takes(self, webhooks: Webhooks) -> None:
        webhook = webhooks.create()
        webhooks.receiver.status = 503
        webhooks.finish()
        webhooks.deliver()
        with transaction(webhooks.engine) as session:
            session.execute(update(WebhookDelivery).values(queued_at=func.now() - ORDER_PATIENCE))
        webhooks.receiver.status = 204
        second = webhooks.finish()
        assert webhooks.deliver() == 1
        assert webhooks.receiver.messages[-1].verify(webhook["secret"])["data"]["job_id"] == str(second)


class TestAClaim:
    def test_is_made_once_however_many_claim_and_lapses_by_itself(self, webhooks: Webhooks) -> None:
        webhooks.create()
        webhooks.finish()
        with transaction(webhooks.engine) as session:
            (lost,) = claim_due(session, 10, timedelta(seconds=1))
        with transaction(webhooks.engine) as session:
            assert claim_due(session, 10, timedelta(seconds=1)) == []
            session.execute(update(WebhookDelivery).values(lease_expires_at=func.now()))
        assert webhooks.deliver() == 1
        with transaction(webhooks.engine) as session:  # the first claimer comes back too late
            assert record_outcome(session, lost, Outcome(0.1, 500), 0.5) is False
        assert webhooks.receiver.messages[0].id == str(lost.id)

    def test_looks_at_each_message_of_a_long_lane_a_few_times_at_most(self, webhooks: Webhooks) -> None:
        """Nothing of the lane is under way, and all of it is older than later messages wait for."""
        webhooks.create()
        webhooks.finish()
        lane = 2000
        with transaction(webhooks.engine) as session:
            message = session.scalars(select(WebhookDelivery)).one()
            names = ("tenant", "endpoint_id", "lane", "event_type", "payload", "state")
            same = {name: getattr(message, name) for name in names}
            session.execute(insert(WebhookDelivery), [{"id": uuid.uuid4(), **same} for _ in range(lane - 1)])
            session.execute(update(WebhookDelivery).values(queued_at=func.now() - 2 * ORDER_PATIENCE))
        with transaction(webhooks.engine) as session:
            query = str(_select_due(10).compile(webhooks.engine, compile_kwargs={"literal_binds": True}))
            explained = session.connection().exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}").scalar_one()
        assert count_rows(explained[0]["Plan"]) < 10 * lane
        with transaction(webhooks.engine) as session:
            assert [claimed.id for claimed in claim_due(session, 10, timedelta(seconds=1))] == [message.id]

    def test_passes_over_what_is_being_deleted(self, webhooks: Webhooks) -> None:
        webhooks.create()
        webhooks.finish()
        with Session(webhooks.engine) as deleting:
            deleting.execute(delete(WebhookDelivery))
            with transaction(webhooks.engine) as session:
                assert claim_due(session, 10, timedelta(seconds=1)) == []
            deleting.rollback()
        assert webhooks.deliver() == 1


def count_rows(plan: dict[str, Any]) -> int:
    """Return how many rows the steps of a plan looked at."""
    looked_at = sum(
        plan.get(key, 0) for key in ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Join Filter")
    )
    return int(looked_at * plan["Actual Loops"]) + sum(map(count_rows, plan.get("Plans", [])))


class TestForgetting:
    def test_ends_all_that_is_old_though_more_than_goes_at_once(self, webhooks: Webhooks) -> None:
        webhooks.create()
        webhooks.finish()
        webhooks.deliver_all()
        long_ago = func.now() - webhooks.gateway.settings.webhook_log_retention - timedelta(minutes=1)
        ended = {"tenant": "default", "lane": "", "event_type": "job.failed", "payload": {}, "state": "failed"}
        rows = [{"id": uuid.uuid4(), **ended} for _ in range(2 * FORGOTTEN_AT_ONCE + 1)]
        with transaction(webhooks.engine) as session:
            session.execute(insert(WebhookDelivery), rows)
            failed = WebhookDelivery.state == DeliveryState.FAILED
            session.execute(update(WebhookDelivery).where(failed).values(finished_at=long_ago))
        asyncio.run(self.run_until_forgotten(webhooks))
        with transaction(webhooks.engine) as session:
            assert session.scalars(select(WebhookDelivery.state)).all() == [DeliveryState.DELIVERED]

    async def run_until_forgotten(self, webhooks: Webhooks) -> None:
        stopped, left = threading.Event(), 2
        running = asyncio.create_task(webhooks.deliverer.run(stopped))
        deadline = time.monotonic() + 30
        while left > 1 and time.monotonic() < deadline:
            with transaction(webhooks.engine) as session:
                left = session.scalar(select(func.count()).select_from(WebhookDelivery)) or 0
            await asyncio.sleep(0.05)
        stopped.set()
        await running


class TestASecret:
    def test_that_was_rotated_signs_along_until_the_overlap_ends(self, webhooks: Webhooks) -> None:
        old = webhooks.create()
        new = webhooks.call(old, "rotate", overlap_s=60)
        assert new["secret"] != old["secret"]
        webhooks.finish()
        webhooks.deliver()
        (message,) = webhooks.receiver.messages
        assert message.verify(old["secret"]) == message.verify(new["secret"])
        newest = webhooks.call(old, "rotate", overlap_s=0)
        webhooks.finish()
        webhooks.deliver()
        last = webhooks.receiver.messages[-1]
        assert last.verify(newest["secret"])
        with pytest.raises(WebhookVerificationError):
            last.verify(new["secret"])

    def test_is_shown_once(self, webhooks: Webhooks) -> None:
        webhook = webhooks.create()
        assert webhook["secret"].startswith("whsec_")
        shown = webhooks.gateway.http.get("/v1/webhooks").text + str(webhooks.read(webhook))
        assert webhook["secret"] not in shown


class TestOnDemand:
    def test_a_ping_comes_at_once_and_is_tried_once(self, webhooks: Webhooks) -> None:
        webhook = webhooks.create()
        webhooks.receiver.status = 500
        asked = webhooks.call(webhook, "ping")
        webhooks.deliver()
        (delivery,) = webhooks.list_deliveries(webhook)
        assert (delivery["id"], delivery["state"], delivery["attempt"]) == (asked["id"], "failed", 1)
        assert webhooks.receiver.messages[0].verify(webhook["secret"])["type"] == "webhook.ping"
        assert webhooks.read(webhook)["failing_since"] is None

    def test_a_replay_sends_the_same_ids_in_the_same_order(self, webhooks: Webhooks) -> None:
        webhook = webhooks.create()
        before = datetime.now(UTC) - timedelta(minutes=1)
        webhooks.finish()
        webhooks.finish()
        webhooks.deliver_all()
        assert webhooks.call(webhook, "replay", since=before.isoformat())["replayed"] == 2
        webhooks.deliver_all()
        ids = [message.id for message in webhooks.receiver.messages]
        assert ids[:2] == ids[2:]
        later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        assert webhooks.call(webhook, "replay", since=later)["replayed"] == 0
