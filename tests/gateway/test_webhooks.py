"""The routes of webhooks: what they take, and whose they are."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import httpx
import pytest
from sqlalchemy import Engine, delete

from shared.database import transaction
from shared.tables import Job, WebhookDelivery, WebhookEndpoint
from tests.gateway.conftest import NOTHING, ZIP, RunningGateway

PUBLIC = "https://8.8.8.8/hook"  # never called: no worker runs here
PATH = "/v1/webhooks"


@pytest.fixture(autouse=True)
def _no_webhooks(engine: Engine) -> Iterator[None]:
    yield
    with transaction(engine) as session:
        session.execute(delete(WebhookEndpoint))
        session.execute(delete(WebhookDelivery))


def create(gateway: RunningGateway, **fields: object) -> httpx.Response:
    return gateway.http.post(PATH, json={"url": PUBLIC, **fields})


class TestAWebhook:
    def test_is_made_read_changed_and_deleted(self, gateway: RunningGateway) -> None:
        made = create(gateway, events=["job.failed", "job.failed"])
        place = made.headers["location"]
        assert (made.status_code, made.json()["enabled"], made.json()["events"]) == (201, True, ["job.failed"])
        shown = {name: value for name, value in made.json().items() if name != "secret"}
        assert gateway.http.get(place).json() == shown
        assert gateway.http.get(PATH).json() == {"items": [shown], "next_cursor": None}
        changed = gateway.http.patch(place, json={"enabled": False}).json()
        assert (changed["enabled"], changed["disabled_reason"], changed["url"]) == (False, "by_caller", PUBLIC)
        assert gateway.http.patch(place, json={"enabled": True}).json()["disabled_reason"] is None
        assert gateway.http.delete(place).status_code == 204
        assert gateway.http.get(place).json()["code"] == "webhook_not_found"

    def test_has_secrets_that_no_cache_keeps(self, gateway: RunningGateway) -> None:
        made = create(gateway)
        rotated = gateway.http.post(f"{made.headers['location']}/rotate")
        for answer in (made, rotated, gateway.http.get(f"{PATH}/default-secret")):
            assert "secret" in answer.json()
            assert answer.headers["Cache-Control"] == "no-store"

    @pytest.mark.parametrize("overlap_s", [False, "3", 1.5])
    def test_has_its_numbers_and_truth_values_as_json_has_them(
        self, gateway: RunningGateway, overlap_s: object
    ) -> None:
        place = create(gateway).headers["location"]
        rotated = gateway.http.post(f"{place}/rotate", json={"overlap_s": overlap_s})
        assert (rotated.status_code, rotated.json()["errors"][0]["pointer"]) == (422, "/overlap_s")
        assert gateway.http.patch(place, json={"enabled": "no"}).json()["errors"][0]["pointer"] == "/enabled"

    def test_asks_for_every_event_when_it_names_none(self, gateway: RunningGateway) -> None:
        assert "job.completed" in create(gateway).json()["events"]
        assert "webhook.ping" not in create(gateway).json()["events"]

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({"url": PUBLIC, "secret": "mine"}, "/secret"),
            ({"events": ["job.failed"]}, "/url"),
            ({"url": PUBLIC, "events": []}, "/events"),
            ({"url": PUBLIC, "events": ["job.done"]}, "/events/0"),
            ({"url": PUBLIC, "events": ["webhook.ping"]}, "/events"),
            ({"url": 7}, "/url"),
            ({"url": "https://example.org/" + "a" * 3000}, "/url"),
        ],
    )
    def test_with_wrong_fields_is_refused(self, gateway: RunningGateway, body: object, pointer: str) -> None:
        answer = gateway.http.post(PATH, json=body)
        assert answer.status_code == 422
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]

    @pytest.mark.parametrize("url", ["http://[::ffff:127.0.0.1]/", "https://localhost.localdomain:25/", "file:///etc"])
    def test_at_an_address_that_is_not_called_is_refused(self, gateway: RunningGateway, url: str) -> None:
        webhook = create(gateway).json()
        for answer in (create(gateway, url=url), gateway.http.patch(f"{PATH}/{webhook['id']}", json={"url": url})):
            assert (answer.status_code, answer.json()["code"]) == (422, "callback_url_not_allowed")
            assert url not in answer.text

    def test_of_another_tenant_is_not_found(self, gateway: RunningGateway, engine: Engine) -> None:
        place = f"{PATH}/{create(gateway).json()['id']}"
        with transaction(engine) as session:
            session.get_one(WebhookEndpoint, uuid.UUID(place.rpartition("/")[2])).tenant = "another"
        assert gateway.http.get(PATH).json()["items"] == []
        answers = [
            gateway.http.get(place),
            gateway.http.patch(place, json={}),
            gateway.http.delete(place),
            gateway.http.post(f"{place}/rotate"),
            gateway.http.post(f"{place}/ping"),
            gateway.http.post(f"{place}/replay", json={"since": "2026-01-01T00:00:00Z"}),
            gateway.http.get(f"{place}/deliveries"),
        ]
        assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(404, "webhook_not_found")}

    @pytest.mark.parametrize("webhook_id", ["17", "%00", "6b0f1f6e-3c55-4d0e-9f6e-0d3b0a7a5a11"])
    def test_that_does_not_exist_is_not_found(self, gateway: RunningGateway, webhook_id: str) -> None:
        assert gateway.http.get(f"{PATH}/{webhook_id}").json()["code"] == "webhook_not_found"


class TestDeliveries:
    def test_are_walked_page_by_page(self, gateway: RunningGateway) -> None:
        place = f"{PATH}/{create(gateway).json()['id']}"
        made = [gateway.http.post(f"{place}/ping").json()["id"] for _ in range(3)]
        first = gateway.http.get(f"{place}/deliveries?limit=2").json()
        second = gateway.http.get(f"{place}/deliveries?limit=2&cursor={first['next_cursor']}").json()
        assert [one["id"] for one in first["items"] + second["items"]] == made[::-1]
        assert second["next_cursor"] is None
        assert gateway.http.get(f"{place}/deliveries?cursor=abc").status_code == 422

    def test_of_a_disabled_webhook_are_given_up(self, gateway: RunningGateway) -> None:
        place = f"{PATH}/{create(gateway).json()['id']}"
        gateway.http.post(f"{place}/ping")
        gateway.http.patch(place, json={"enabled": False})
        (delivery,) = gateway.http.get(f"{place}/deliveries").json()["items"]
        assert (delivery["state"], delivery["reason"]) == ("failed", "endpoint_by_caller")
        assert gateway.http.post(f"{place}/ping").json()["code"] == "webhook_disabled"


class TestACallback:
    @pytest.mark.parametrize(
        "url",
        [
            "http://169.254.169.254/",
            "file:///etc/passwd",
            "http://[::ffff:127.0.0.1]/",
            "https://user:pw@example.org/",
            "https://example.org/\r\nHost: other",
            "https://xn--exmple-4nf.org/",
            "https://example.org:25/",
        ],
    )
    @pytest.mark.parametrize("place", ["query", "form"])
    def test_that_is_not_called_makes_no_job(
        self,
        gateway: RunningGateway,
        leftovers: Callable[[], tuple[set[str], int]],
        url: str,
        place: str,
    ) -> None:
        sent = {"params": {"callback_url": url}} if place == "query" else {"data": {"callback_url": url}}
        answer = gateway.http.post("/v1/jobs", files={"file": ("study.zip", ZIP)}, **sent)  # type: ignore[arg-type]
        assert (answer.status_code, answer.json()["code"]) == (422, "callback_url_not_allowed")
        assert answer.json()["errors"][0]["pointer"] == "/callback_url"
        assert leftovers() == NOTHING

    def test_by_plain_http_whose_name_leads_nowhere_leaves_no_object(
        self, gateway: RunningGateway, leftovers: Callable[[], tuple[set[str], int]]
    ) -> None:
        answer = gateway.http.post("/v1/jobs", content=ZIP, params={"callback_url": "http://nowhere.invalid/"})
        assert (answer.status_code, answer.json()["reason"]) == (422, "https_required")
        assert leftovers() == NOTHING

    def test_belongs_to_the_payload_of_an_idempotency_key(self, gateway: RunningGateway, engine: Engine) -> None:
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        first = gateway.http.post("/v1/jobs", content=ZIP, params={"callback_url": PUBLIC}, headers=headers)
        other = gateway.http.post("/v1/jobs", content=ZIP, params={"callback_url": PUBLIC + "2"}, headers=headers)
        assert (first.status_code, other.json()["code"]) == (202, "idempotency_key_reused")
        with transaction(engine) as session:
            assert session.get_one(Job, uuid.UUID(first.json()["id"])).options["callback_url"] == PUBLIC
