"""Real servers for every test that touches a database, a broker or storage: started once per test process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from sqlalchemy import Engine
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

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


ON_THE_PLATFORM = (
    *("tests/stack/", "tests/privacy/test_traces.py"),
    *("tests/faults/test_worker_kills.py", "tests/faults/test_split_kills.py"),
)
"""Tests that share one running platform."""

ONE_AFTER_THE_OTHER = ("tests/hostile/test_through_the_gateway.py", "tests/training/test_fusion.py")
"""Files with something for all of their classes that takes minutes to make."""


class SharingScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Hands out tests by class, as `--dist loadscope` does, but what shares a platform to one process.

    A second platform takes half a minute to start, and then memory and both processors from the first.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(ON_THE_PLATFORM):
            return "the platform"
        if nodeid.startswith(ONE_AFTER_THE_OTHER):
            return nodeid.partition("::")[0]
        return str(super()._split_scope(nodeid))


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> SharingScheduling:
    """Return what hands the tests to the processes."""
    return SharingScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse tests that would start a platform of their own by accident."""
    strays = {
        item.nodeid.partition("::")[0]
        for item in items
        if "stack" in getattr(item, "fixturenames", ()) and not item.nodeid.startswith(ON_THE_PLATFORM)
    }
    if strays:
        raise pytest.UsageError(f"name in ON_THE_PLATFORM of tests/conftest.py: {sorted(strays)}")


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


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """One thread for torch: small networks are slower on two, and what is trained differs in its last digits.

    For `pytestmark = pytest.mark.usefixtures("one_thread")`: then it comes before all others of the module.
    """
    import torch  # noqa: PLC0415  # not for tests that do without it

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
