"""The bench that problems are really provoked on."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy import Engine

from phantom.corpus.chest import SMALL, Chest
from shared.storage import ObjectStore
from tests.gateway.conftest import RunningGateway, engine, gateway, settings, store
from tests.problems.bench import Bench
from workers.intake.stage import make_stage

__all__ = ["engine", "gateway", "settings", "store"]  # the fixtures of the gateway's tests serve here too


@pytest.fixture(scope="session")
def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def bench(
    gateway: RunningGateway,
    engine: Engine,
    store: ObjectStore,
    closed_port: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Bench]:
    """A gateway with storage and database, and an intake with the limits that the corpus is made for."""
    limits = {
        "archive_limit_bytes": SMALL.archive_bytes,
        "archive_limit_entries": SMALL.archive_entries,
        "cache_dir": tmp_path_factory.mktemp("cache"),
    }
    limited = gateway.settings.model_copy(update=limits)
    with closing(make_stage(limited)) as intake:
        yield Bench(
            gateway=gateway,
            settings=limited,
            engine=engine,
            store=store,
            intake=intake,
            chest=Chest(7, SMALL),
            scratch=tmp_path_factory.mktemp("scratch"),
            closed_port=closed_port,
        )
