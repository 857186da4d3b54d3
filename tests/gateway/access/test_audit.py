"""The log of what was done: kept before the answer leaves, and never changed unseen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from gateway.access.scopes import Scope
from shared.access_tables import AuditEntry
from shared.audit import Deed, Head, fetch_head, holds_head, record, verify_chain
from shared.database import transaction
from tests.gateway.access.conftest import KeyMaker, send_as
from tests.gateway.conftest import ZIP, RunningGateway

DEED_FIELDS = ("tenant", "actor", "action", "target", "trace_id")
DEED = Deed("ward-a", "key:abc", "POST /v1/jobs", "/v1/jobs/1", 202, "trace")


def fetch_entries(engine: Engine, actor: str) -> Sequence[AuditEntry]:
    with transaction(engine) as session:
        query = select(AuditEntry).where(AuditEntry.actor == f"key:{actor.split('_')[1]}")
        return session.scalars(query.order_by(AuditEntry.sequence)).all()


class TestWhatIsRecorded:
    def test_is_every_change_and_every_reading_of_a_result(
        self, guarded: RunningGateway, key_of: KeyMaker, engine: Engine
    ) -> None:
        key = key_of(tenant="ward-a")
        job_id = send_as(guarded, key, "POST", "/v1/jobs", content=ZIP).json()["id"]
        place = f"/v1/jobs/{job_id}"
        for method, path in (
            ("GET", place),
            ("GET", f"{place}/result"),
            ("POST", f"{place}/cancel"),
            ("DELETE", place),
        ):
            send_as(guarded, key, method, path)
        entries = fetch_entries(engine, key)
        assert [(one.action, one.target, one.status) for one in entries] == [
            ("POST /v1/jobs", place, 202),
            ("GET /v1/jobs/{job_id}/result", f"{place}/result", 409),
            ("POST /v1/jobs/{job_id}/cancel", f"{place}/cancel", 200),
            ("DELETE /v1/jobs/{job_id}", place, 200),
        ]
        assert {one.tenant for one in entries} == {"ward-a"}

    def test_holds_what_was_forbidden_and_who_tried(
        self, guarded: RunningGateway, key_of: KeyMaker, engine: Engine
    ) -> None:
        key = key_of(Scope.JOBS_READ)
        send_as(guarded, key, "GET", "/v1/api-keys")
        assert [(one.action, one.status) for one in fetch_entries(engine, key)] == [("GET /v1/api-keys", 403)]

    def test_holds_no_secret(self, guarded: RunningGateway, key_of: KeyMaker, engine: Engine) -> None:
        key = key_of()
        body = {"name": "n", "scopes": ["jobs:read"]}
        made = send_as(guarded, key, "POST", "/v1/api-keys", json=body).json()
        (entry,) = fetch_entries(engine, key)
        assert entry.target == f"/v1/api-keys/{made['id']}"
        written = str({name: getattr(entry, name) for name in DEED_FIELDS})
        assert key not in written
        assert made["key"] not in written


REFUSE = """
CREATE FUNCTION refuse_entry() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN RAISE EXCEPTION 'no entry now' USING ERRCODE = 'query_canceled'; END$$;
CREATE TRIGGER refuse_entry BEFORE INSERT ON audit_entries FOR EACH ROW WHEN (NEW.actor = '{actor}')
EXECUTE FUNCTION refuse_entry()
"""


@contextmanager
def no_entry_of(engine: Engine, actor: str) -> Iterator[None]:
    """Let the database refuse every entry of a key."""
    with transaction(engine) as session:
        session.execute(text(REFUSE.format(actor=f"key:{actor.split('_')[1]}")))
    try:
        yield
    finally:
        with transaction(engine) as session:
            session.execute(text("DROP TRIGGER refuse_entry ON audit_entries"))
            session.execute(text("DROP FUNCTION refuse_entry"))


class TestAnEffectWithoutItsEntry:
    def test_does_not_happen(self, guarded: RunningGateway, key_of: KeyMaker, engine: Engine) -> None:
        key = key_of(tenant="ward-z")
        job = send_as(guarded, key, "POST", "/v1/jobs", content=ZIP).headers["Location"]
        upload = send_as(guarded, key, "POST", "/v1/uploads", json={"size_bytes": len(ZIP)}).headers["Location"]
        assert send_as(guarded, key, "PUT", f"{upload}/parts/1", content=ZIP).status_code == 200
        hook = {"url": "http://127.0.0.1:9/"}
        named = {"name": "n", "scopes": ["jobs:read"]}
        deeds: tuple[tuple[str, str, dict[str, object]], ...] = (
            ("POST", "/v1/jobs", {"content": ZIP}),
            ("POST", f"{job}/cancel", {}),
            ("DELETE", job, {}),
            ("POST", "/v1/uploads", {"json": {"size_bytes": 1}}),
            ("POST", f"{upload}/complete", {}),
            ("POST", "/v1/webhooks", {"json": hook}),
            ("POST", "/v1/api-keys", {"json": named}),
        )
        seen = ("/v1/jobs", job, "/v1/uploads", "/v1/webhooks", "/v1/api-keys")
        with no_entry_of(engine, key):
            before = [send_as(guarded, key, "GET", path).json() for path in seen]
            answers = [send_as(guarded, key, method, path, **rest) for method, path, rest in deeds]
            after = [send_as(guarded, key, "GET", path).json() for path in seen]
        assert [answer.status_code for answer in answers] == [503] * len(deeds)
        assert after == before
        assert send_as(guarded, key, "DELETE", job).status_code == 200


class TestTheChain:
    def test_is_whole_and_grows_one_by_one(self, guarded: RunningGateway, key_of: KeyMaker, engine: Engine) -> None:
        with transaction(engine) as session:
            before = fetch_head(session)
            record(session, DEED)
        with transaction(engine) as session:
            report = verify_chain(session)
            assert report.broken_at is None
            assert report.head.sequence > before.sequence
            assert before.sequence == 0 or holds_head(session, before)
            assert not holds_head(session, Head(report.head.sequence, "0" * 64))

    @pytest.mark.parametrize(
        "change",
        [
            "UPDATE audit_entries SET actor = 'key:nobody' WHERE sequence = :at",
            "UPDATE audit_entries SET at = at + interval '1 microsecond' WHERE sequence = :at",
            "DELETE FROM audit_entries WHERE sequence = :at",
        ],
    )
    def test_tells_where_it_was_changed_behind_the_databases_back(self, engine: Engine, change: str) -> None:
        with Session(engine) as session:  # never committed: the log of the other tests stays whole
            first = record(session, DEED).sequence
            record(session, DEED)
            session.execute(text("ALTER TABLE audit_entries DISABLE TRIGGER append_only"))
            session.execute(text(change), {"at": first})
            session.expire_all()
            assert verify_chain(session).broken_at == (first + 1 if change.startswith("DELETE") else first)
            session.rollback()

    @pytest.mark.parametrize(
        "change", ["UPDATE audit_entries SET actor = 'x'", "DELETE FROM audit_entries", "TRUNCATE audit_entries"]
    )
    def test_cannot_be_changed_through_the_database(self, engine: Engine, change: str) -> None:
        with pytest.raises(DBAPIError, match="append-only"), transaction(engine) as session:
            session.execute(text(change))
