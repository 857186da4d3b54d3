"""Registration on a real database: what jobs are planned from is what is installed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, make_url, select, text

from migrations import upgrade
from model_weights.policies import load_policies
from model_weights.publishing import publish_entry
from shared.database import transaction
from shared.settings import Settings, WeightsProfile
from shared.stages import StageName
from shared.tables import ModelVersion, Policy
from workers.control.registration import register_installation


@pytest.fixture(scope="module")
def engine(settings: Settings) -> Iterator[Engine]:
    """A database of its own: registration decides for the whole installation, which other tests rely on."""
    url = make_url(settings.database_url.get_secret_value())
    name = f"registration_{uuid.uuid4().hex}"
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    own = url.set(database=name).render_as_string(hide_password=False)
    upgrade(own)
    engine = create_engine(own, pool_size=5)
    yield engine
    engine.dispose()
    admin.dispose()


@pytest.fixture
def installed(settings: Settings, tmp_path: Path) -> Settings:
    """Settings of an installation with one imported model of its own."""
    publish(tmp_path, b"first weights")
    return settings.model_copy(update={"weights_profile": WeightsProfile.FULL, "weights_dir": tmp_path})


def publish(folder: Path, weights: bytes) -> str:
    source = folder / "weights.txt"
    source.write_bytes(weights)
    entry = publish_entry(
        name="tiny",
        stage=StageName.MEDNEXT,
        version="1",
        weights_profile=WeightsProfile.FULL,
        architecture={},
        preprocessing={},
        labels=("normal",),
        thresholds={},
        sources={"weights": source},
        origin="made by a test",
        licence="Apache-2.0",
        catalogue=folder / "catalogue.toml",
    )
    return entry.digest


def fetch_active_policies(engine: Engine) -> dict[str, str]:
    with transaction(engine) as session:
        return {row.name: row.id for row in session.scalars(select(Policy).where(Policy.is_active))}


def fetch_active_models(engine: Engine) -> Sequence[str]:
    with transaction(engine) as session:
        return session.scalars(select(ModelVersion.digest).where(ModelVersion.is_active)).all()


class TestPolicies:
    def test_every_policy_of_the_package_is_active_under_its_name(self, engine: Engine, installed: Settings) -> None:
        register_installation(engine, installed)
        assert fetch_active_policies(engine) == {policy.name: policy.id for policy in load_policies()}

    def test_those_of_the_site_are_active_too(self, engine: Engine, installed: Settings, tmp_path: Path) -> None:
        words = 'name = "own"\nversion = "1"\nthreshold = 0.4\nminimum_models = 1\n[[finding_texts]]\nname = "Stent"\n'
        folder = tmp_path / "policies"
        folder.mkdir()
        (folder / "own.toml").write_text(words)
        register_installation(engine, installed.model_copy(update={"policies_dir": folder}))
        with transaction(engine) as session:
            row = session.get_one(Policy, fetch_active_policies(engine)["own"])
        assert row.document["finding_texts"] == [{"name": "Stent"}]

    def test_the_document_names_the_policy_and_its_threshold(self, engine: Engine, installed: Settings) -> None:
        register_installation(engine, installed)
        with transaction(engine) as session:
            row = session.get_one(Policy, fetch_active_policies(engine)["default"])
        assert (row.document["id"], row.document["threshold"], row.document["minimum_models"]) == (row.id, 0.59, 1)

    def test_an_older_version_of_a_policy_stays_but_is_not_active(self, engine: Engine, installed: Settings) -> None:
        register_installation(engine, installed)
        with transaction(engine) as session:
            session.get_one(Policy, fetch_active_policies(engine)["default"]).is_active = False
            session.flush()
            session.merge(Policy(id="default-0-old", name="default", digest="0", document={}, is_active=True))
        register_installation(engine, installed)
        assert fetch_active_policies(engine)["default"] != "default-0-old"
        with transaction(engine) as session:
            assert session.get(Policy, "default-0-old") is not None


class TestModels:
    def test_an_installed_model_is_active_and_described(self, engine: Engine, installed: Settings) -> None:
        register_installation(engine, installed)
        (digest,) = fetch_active_models(engine)
        with transaction(engine) as session:
            row = session.get_one(ModelVersion, (StageName.MEDNEXT, digest))
        assert (row.version, row.weights_profile, row.facts["name"]) == ("1", "full", "tiny")

    def test_a_model_that_was_replaced_becomes_inactive(
        self, engine: Engine, installed: Settings, tmp_path: Path
    ) -> None:
        register_installation(engine, installed)
        second = publish(tmp_path, b"second weights")
        register_installation(engine, installed)
        assert fetch_active_models(engine) == [second]

    def test_without_weights_no_model_is_active(self, engine: Engine, installed: Settings) -> None:
        register_installation(engine, installed)
        register_installation(engine, installed.model_copy(update={"weights_profile": WeightsProfile.NONE}))
        assert fetch_active_models(engine) == []


class TestConcurrency:
    def test_many_at_once_leave_what_one_leaves(self, engine: Engine, installed: Settings) -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: register_installation(engine, installed), range(16)))
        assert len(fetch_active_models(engine)) == 1
        assert set(fetch_active_policies(engine)) == {"default", "skeleton"}
