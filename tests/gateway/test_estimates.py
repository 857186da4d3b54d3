"""When a job may end, and how jobs are found again."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, select, update

from gateway.jobs.estimates import Estimate, Sample, Standing, estimate, list_gaps
from gateway.jobs.measurements import KEPT_FOR_S
from shared.database import transaction
from shared.stages import StageName
from shared.states import JobState
from shared.tables import Job, StageRun
from tests.gateway.conftest import RunningGateway
from tests.gateway.pipeline import complete_intake, finish_job

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MODELS = frozenset({StageName.MEDNEXT})


def make_sample(end_s: float, took_s: float, *, waited_s: float = 0, models: frozenset[StageName] = MODELS) -> Sample:
    ended = NOON + timedelta(seconds=end_s)
    begun = ended - timedelta(seconds=took_s)
    return Sample(models, begun - timedelta(seconds=waited_s), begun, begun + timedelta(seconds=took_s / 2), ended)


def stand(*, ahead: int = 0, begun_s: float | None = None, read_s: float | None = None) -> Standing:
    begun, read = (None if ago is None else NOON - timedelta(seconds=ago) for ago in (begun_s, read_s))
    return Standing(MODELS, begun, read, ahead, NOON)


class TestAnEstimate:
    def test_is_none_where_nothing_alike_was_measured(self) -> None:
        others = [make_sample(-10, 5, models=frozenset({StageName.FVLM}))]
        assert estimate([], stand()) is None
        assert estimate(others, stand()) is None

    def test_of_a_job_that_has_not_begun_is_what_the_others_took(self) -> None:
        samples = [make_sample(-1000 * number, number) for number in range(1, 11)]
        assert estimate(samples, stand()) == Estimate(5, 9)

    def test_shrinks_while_the_job_runs_by_those_that_took_as_long(self) -> None:
        samples = [make_sample(-1000 * number, number) for number in range(1, 11)]
        assert estimate(samples, stand(begun_s=5)) == Estimate(3, 5)  # those of 6 to 10 s are left
        assert estimate(samples, stand(begun_s=8, read_s=2)) == Estimate(1.5, 3)  # half of 5 to 10 s, less 2
        assert estimate(samples, stand(begun_s=11)) is None  # longer than any

    def test_counts_the_jobs_ahead_by_how_fast_they_ended_while_others_waited(self) -> None:
        samples = [make_sample(-100 + 4 * number, 6, waited_s=50) for number in range(10)]
        assert list_gaps(samples) == [4] * 9
        assert estimate(samples, stand(ahead=5)) == Estimate(20, 20)
        assert estimate(samples, stand(ahead=1)) == Estimate(6, 6)

    def test_takes_no_idle_time_for_a_queue(self) -> None:
        assert list_gaps([make_sample(-1000, 3), make_sample(-10, 3)]) == []

    @given(
        st.lists(st.tuples(st.floats(-1e4, 0), st.floats(0.1, 1e3), st.floats(0, 1e3)), min_size=1, max_size=30),
        st.integers(0, 50),
        st.floats(0, 500) | st.none(),
    )
    def test_of_anything_is_ordered_and_asks_to_poll_in_bounds(
        self, measured: list[tuple[float, float, float]], ahead: int, begun_s: float | None
    ) -> None:
        samples = [make_sample(end_s, took_s, waited_s=waited_s) for end_s, took_s, waited_s in measured]
        found = estimate(samples, stand(ahead=ahead, begun_s=begun_s))
        if found is not None:
            assert 0 <= found.p50_s <= found.p90_s
            assert 1 <= found.poll_after_s <= 30


def forget_all_jobs(engine: Engine) -> None:
    """End every open job of other tests, and forget what they measured."""
    with transaction(engine) as session:
        session.execute(
            update(Job).where(Job.finished_at.is_(None)).values(state=JobState.CANCELLED, finished_at=datetime.now(UTC))
        )
        session.execute(update(StageRun).where(StageRun.stage == StageName.INTAKE).values(started_at=None))
    time.sleep(KEPT_FOR_S)


def measure(gateway: RunningGateway, engine: Engine, seconds: float) -> None:
    """Let a job end that took so long."""
    job_id = uuid.UUID(gateway.submit()["id"])
    finish_job(engine, job_id)
    with transaction(engine) as session:
        for run in session.scalars(select(StageRun).where(StageRun.job_id == job_id)):
            if run.stage is StageName.INTAKE and run.finished_at is not None:
                run.started_at = run.finished_at - timedelta(seconds=seconds)
    time.sleep(KEPT_FOR_S)


class TestAJob:
    def test_tells_nothing_before_anything_was_measured(self, gateway: RunningGateway, engine: Engine) -> None:
        forget_all_jobs(engine)
        job = gateway.http.get(f"/v1/jobs/{gateway.submit()['id']}")
        assert (job.json()["eta"], job.headers["retry-after"], job.json()["queue_position"]) == (None, "1", 1)

    def test_tells_what_the_latest_took_and_when_to_look_again(self, gateway: RunningGateway, engine: Engine) -> None:
        forget_all_jobs(engine)
        measure(gateway, engine, 40)
        submitted = gateway.http.post("/v1/jobs", content=b"PK\x03\x04 more")
        job = submitted.json()
        assert job["eta"]["p50_s"] == pytest.approx(40, abs=2)
        assert job["eta"]["p50_s"] <= job["eta"]["p90_s"]
        assert int(submitted.headers["retry-after"]) == pytest.approx(20, abs=1)
        for noun in ("result", "intake"):
            early = gateway.http.get(f"/v1/jobs/{job['id']}/{noun}")
            assert early.status_code == 409
            assert int(early.headers["retry-after"]) == pytest.approx(20, abs=1)
        jobs = gateway.http.get("/v1/jobs?limit=100").json()["items"]  # another test may have made one of a later time
        (listed,) = (each for each in jobs if each["id"] == job["id"])
        assert listed["eta"]["p50_s"] == pytest.approx(40, abs=2)

    def test_that_only_came_nearer_to_its_end_has_not_changed(self, gateway: RunningGateway, engine: Engine) -> None:
        forget_all_jobs(engine)
        measure(gateway, engine, 40)
        path = f"/v1/jobs/{gateway.submit()['id']}"
        etag = gateway.http.get(path).headers["etag"]
        assert etag.startswith('W/"')
        assert gateway.http.get(path, headers={"If-None-Match": etag}).status_code == 304
        complete_intake(engine, uuid.UUID(path.rsplit("/", 1)[-1]))
        assert gateway.http.get(path, headers={"If-None-Match": etag}).status_code == 200

    def test_has_no_estimate_once_it_has_ended(self, gateway: RunningGateway, engine: Engine) -> None:
        measure(gateway, engine, 3)
        job_id = gateway.submit()["id"]
        finish_job(engine, uuid.UUID(job_id))
        assert gateway.http.get(f"/v1/jobs/{job_id}").json()["eta"] is None


def list_ids(gateway: RunningGateway, **params: str | list[str]) -> set[str]:
    answer = gateway.http.get("/v1/jobs", params={"limit": 100, **params})
    assert answer.status_code == 200, answer.text
    return {job["id"] for job in answer.json()["items"]}


class TestFindingJobs:
    def test_by_labels_needs_all_of_them(self, gateway: RunningGateway) -> None:
        word = uuid.uuid4().hex
        made = []
        for labels in (f"site=north,batch={word}", f'{{"site": "south", "batch": "{word}"}}', ""):
            answer = gateway.http.post("/v1/jobs", files={"file": ("a.zip", b"PK\x03\x04")}, data={"labels": labels})
            made.append(answer.json()["id"])
        assert list_ids(gateway, label=f"batch={word}") == set(made[:2])
        assert list_ids(gateway, label=[f"batch={word}", "site=south"]) == {made[1]}
        assert gateway.http.get(f"/v1/jobs/{made[0]}").json()["labels"] == {"site": "north", "batch": word}

    def test_by_time_is_exclusive(self, gateway: RunningGateway) -> None:
        first, second = gateway.submit(), gateway.submit()
        assert first["id"] not in list_ids(gateway, created_after=first["created_at"])
        assert second["id"] in list_ids(gateway, created_after=first["created_at"])
        assert second["id"] in list_ids(
            gateway, created_after="0210-08-24T01:10:43+19:03"
        )  # more than PostgreSQL takes
        between = list_ids(gateway, created_after=first["created_at"], created_before=second["created_at"])
        assert not between & {first["id"], second["id"]}

    def test_by_study_is_by_what_was_read(self, gateway: RunningGateway, engine: Engine) -> None:
        job_id = gateway.submit()["id"]
        complete_intake(engine, uuid.UUID(job_id))  # reads the study 1.2.3
        unread = gateway.submit()["id"]
        found = list_ids(gateway, study_uid="1.2.3")
        assert job_id in found
        assert unread not in found
        assert list_ids(gateway, study_uid="1.2.4") == set()

    @pytest.mark.parametrize(
        ("query", "pointer"),
        [
            ("label=site", "/label/0"),
            ("label=a%3Db&label=a%3Dc", "/label/1"),
            ("label=a%3D%00", "/label/0"),
            ("study_uid=%00", "/study_uid"),
            ("created_after=yesterday", "/created_after"),
            ("created_after=2026-03-01T10:00:00", "/created_after"),
            ("created_after=0001-01-01T00:00:00%2B05:00", "/created_after"),
        ],
    )
    def test_by_what_is_malformed_names_the_field(self, gateway: RunningGateway, query: str, pointer: str) -> None:
        answer = gateway.http.get(f"/v1/jobs?{query}")
        assert (answer.status_code, [error["pointer"] for error in answer.json()["errors"]]) == (422, [pointer])
