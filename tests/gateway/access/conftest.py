"""A gateway that asks for keys, and the keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest
from sqlalchemy import Engine

from gateway.access.keys import make_key
from gateway.access.repository import add_key
from gateway.access.scopes import ALL_SCOPES, Scope
from shared.database import transaction
from shared.settings import Authentication, Settings
from shared.storage import ObjectStore
from tests.gateway.conftest import RunningGateway, running_gateway

PLENTY = 1_000_000

KeyMaker = Callable[..., str]


def send_as(gateway: RunningGateway, credentials: str, method: str, path: str, **rest: object) -> httpx.Response:
    """Send one request with a key or token."""
    headers = {"Authorization": f"Bearer {credentials}"}
    return gateway.http.request(method, path, headers=headers, **rest)  # type: ignore[arg-type]  # httpx's own


@pytest.fixture(scope="session")
def guarded_settings(settings: Settings, engine: Engine, store: ObjectStore) -> Settings:
    """Settings of a gateway that asks who one is; database and storage are made."""
    limits = ("rate_limit_per_minute", "rate_limit_burst", "refused_limit_per_minute")
    patience = dict.fromkeys((*limits, *(f"tenant_{limit}" for limit in limits[:2])), PLENTY)
    return settings.model_copy(update={"authentication": Authentication.REQUIRED, **patience})


@pytest.fixture(scope="session")
def guarded(guarded_settings: Settings, engine: Engine, store: ObjectStore) -> Iterator[RunningGateway]:
    """A gateway that asks who one is, and lets ask as often as one likes."""
    with running_gateway(guarded_settings) as running:
        yield running


@pytest.fixture(scope="session")
def key_of(engine: Engine) -> KeyMaker:
    """Return a function that makes a key, by default of the tenant `default` and with every scope."""

    def make(*scopes: Scope, tenant: str = "default") -> str:
        key = make_key()
        with transaction(engine) as session:
            add_key(session, key, tenant=tenant, name="test", scopes=scopes or ALL_SCOPES, created_by="command")
        return key.text

    return make
