"""The benchmark of the state fills what the platform would have left, and judges what it measures."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from benchmarks.scale.databases import Database
from benchmarks.scale.filling import fill
from benchmarks.scale.operations import OPERATIONS
from benchmarks.scale.report import compare
from shared.database import transaction
from shared.settings import Settings
from tests.workers.control.own_database import own_database

FINISHED, WAITING = 200, 50
ON_THE_DATABASE = ("claim a stage", "relay a message", "one look of the reaper", "mark the queue")


@pytest.fixture(scope="module")
def database(settings: Settings) -> Iterator[Database]:
    broker = settings.broker_url.get_secret_value().rsplit("/", 1)[0] + "/8"
    with own_database(settings) as (own, engine):
        made = Database("scale", own.model_copy(update={"broker_url": SecretStr(broker)}), {})
        made.make_policy()
        fill(made.url, finished=FINISHED, waiting=WAITING)
        yield made
        made.engine.dispose()
        engine.dispose()


def count(database: Database, query: str) -> int:
    with transaction(database.engine) as session:
        return int(session.scalar(text(f"SELECT count(*) FROM {query}")) or 0)


@pytest.fixture(scope="module")
def counts(database: Database) -> dict[str, int]:
    """What was to be done, and told, before any test worked on it."""
    return {what: count(database, what) for what in ("stage_runs WHERE state = 'ready'", "outbox")}


class TestAFilledDatabase:
    def test_has_the_jobs_that_were_asked_for_and_keeps_its_promises(
        self, database: Database, counts: dict[str, int]
    ) -> None:
        assert count(database, "jobs WHERE finished_at IS NOT NULL") == FINISHED
        assert count(database, "jobs WHERE finished_at IS NULL") == WAITING
        assert count(database, "stage_runs") == 9 * (FINISHED + WAITING)
        ready, messages = counts.values()
        assert ready == messages > WAITING

    def test_has_every_index_again(self, database: Database) -> None:
        names = "('pk_stage_runs', 'ix_jobs_open_turn', 'ix_events_job_id_id', 'uq_artefacts_job_id_kind')"
        assert count(database, f"pg_indexes WHERE indexname IN {names}") == 4

    @pytest.mark.usefixtures("counts")
    @pytest.mark.parametrize("name", ON_THE_DATABASE)
    def test_can_be_worked_on(self, database: Database, name: str) -> None:
        operation = next(one for one in OPERATIONS if one.name == name)
        assert all(seconds > 0 for seconds in islice(operation.sample(database), 2))


class TestWhatIsJudged:
    def test_is_the_limit_and_the_ratio(self) -> None:
        quick, slow = [0.010] * 20, [0.040] * 20
        assert compare("poll", quick, quick, 50).is_kept
        assert not compare("poll", quick, slow, 50).is_kept  # four times as long
        assert not compare("poll", slow, slow, 30).is_kept
        assert compare("poll", [0.001] * 20, [0.004] * 20, 50).is_kept  # four times nothing
        assert compare("poll", quick, slow, None).is_kept
