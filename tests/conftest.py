"""Real servers for every test that touches a database, a broker or storage: started once per test process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from sqlalchemy import Engine

from deploy.embedded.servers import ServerSet, start_servers
from migrations import upgrade
from shared.database import make_engine
from shared.settings import Settings
from shared.storage import ObjectStore
from tests.rabbitmq import RabbitMq, require_rabbitmq, running_rabbitmq
from tests.stack.collector import Collector, running_collector
from tests.stack.running import RunningStack, running_stack

ROOT = Path(__file__).parents[1]

# How fast a machine is decides no test of ours.
hypothesis.settings.register_profile(
    "house",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large],
)
hypothesis.settings.load_profile("house")


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerSet]:
    """PostgreSQL, broker and S3 storage, with nothing of ours on top."""
    with start_servers(tmp_path_factory.mktemp("servers")) as started:
        yield started


@pytest.fixture(scope="session")
def settings(servers: ServerSet, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings that lead to the servers."""
    named = {name.removeprefix("CTCLIP_").lower(): value for name, value in servers.environment.items()}
    return Settings(**named, cache_dir=tmp_path_factory.mktemp("cache"))  # type: ignore[arg-type]  # parsed by pydantic


@pytest.fixture(scope="session")
def engine(settings: Settings) -> Iterator[Engine]:
    """Engine on a database at the newest schema."""
    upgrade(settings.database_url.get_secret_value())
    engine = make_engine(settings, pool_size=20)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def store(settings: Settings) -> ObjectStore:
    """Object storage with its bucket made."""
    store = ObjectStore(settings)
    store.ensure_bucket()
    return store


@pytest.fixture(scope="session")
def phantom_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small chest CT with one finding, as a ZIP of DICOM files."""
    from phantom.dicom import write_zip  # noqa: PLC0415
    from phantom.study import PhantomSettings, make_study  # noqa: PLC0415

    path = tmp_path_factory.mktemp("phantom") / "study.zip"
    write_zip(make_study(7, ("pleural_effusion",), PhantomSettings.coarse()), path)
    return path


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """What the whole platform sends its traces to."""
    with running_collector() as running:
        yield running


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[RunningStack]:
    """The whole platform, started by its own command."""
    with running_stack(tmp_path_factory.mktemp("stack"), CTCLIP_TRACES_ENDPOINT=collector.url) as running:
        yield running


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMq]:
    """RabbitMQ with the settings that it is deployed with; its tests are skipped where it is not installed."""
    require_rabbitmq()
    with running_rabbitmq(
        tmp_path_factory.mktemp("rabbitmq"), (ROOT / "deploy" / "docker" / "rabbitmq.conf",)
    ) as started:
        yield started
