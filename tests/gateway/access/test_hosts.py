"""By which names a gateway answers while it asks nobody for a key."""

from __future__ import annotations

import pytest

from gateway.access.hosts import is_own_name
from shared.settings import Settings
from tests.gateway.conftest import RunningGateway, running_gateway

OWN = [
    "localhost",
    "LOCALHOST:8000",
    "localhost.",
    "reader.localhost",
    "127.0.0.1",
    "127.8.9.1:80",
    "[::1]:8000",
    "[::1]",
]
STRANGE = [
    *("reader.example.org", "127.0.0.1.example.org", "localhost.example.org", "notlocalhost", "192.168.1.4", "0.0.0.0"),
    *("", "[::2]", "[::1", "::1:80:x", "localhost@example.org", "localhost/x", "127.0.0.1:80:80"),
]


@pytest.mark.parametrize("host", OWN)
def test_a_name_of_this_machine_is_its_own(host: str) -> None:
    assert is_own_name([host], ())


@pytest.mark.parametrize("host", STRANGE)
def test_any_other_name_is_strange(host: str) -> None:
    assert not is_own_name([host], ())
    assert not is_own_name(["localhost", host], ())


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/jobs"), ("GET", "/health"), ("POST", "/v1/jobs"), ("GET", "/nothing")]
)
def test_a_strange_name_is_refused_on_every_address(gateway: RunningGateway, method: str, path: str) -> None:
    answer = gateway.http.request(method, path, headers={"Host": "reader.example.org"})
    assert (answer.status_code, answer.json()["code"]) == (421, "host_not_allowed")


@pytest.mark.parametrize("origin", ["https://reader.example.org", "http://127.0.0.1.example.org:80", "null", "file://"])
def test_a_form_of_a_page_of_another_host_is_refused(gateway: RunningGateway, origin: str) -> None:
    answer = gateway.http.post("/v1/jobs", content=b"PK\x03\x04", headers={"Origin": origin})
    assert (answer.status_code, answer.json()["code"]) == (421, "host_not_allowed")
    assert "`Origin`" in answer.json()["detail"]


def test_the_pages_of_the_platform_itself_may_ask(gateway: RunningGateway) -> None:
    assert gateway.http.get("/v1/jobs", headers={"Origin": str(gateway.http.base_url).rstrip("/")}).status_code == 200


def test_a_name_that_the_operator_allows_is_answered(settings: Settings) -> None:
    allowed = Settings.model_validate({**settings.model_dump(), "gateway_names": "Reader.example.org, other.lan"})
    with running_gateway(allowed) as gateway:
        for name, status in (("reader.example.org:8000", 200), ("other.lan", 200), ("strange.lan", 421)):
            assert gateway.http.get("/livez", headers={"Host": name}).status_code == status


def test_with_keys_any_name_is_answered(guarded: RunningGateway) -> None:
    assert guarded.http.get("/livez", headers={"Host": "reader.example.org"}).status_code == 200
