"""The log of what was done: entries that are only ever added, each with a digest over the one before.

Whoever changes, removes or inserts an entry behind the database's back breaks the chain from there on. A chain cut at
its end stays whole: so its head can be noted elsewhere, and compared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.access_tables import AuditEntry

_LOCK = 0x6374_636C_6175  # "ctclau": entries are added one after another
_PAGE = 1000
FIRST_SHA256 = "0" * 64
"""What the first entry names as the digest before it."""


@dataclass(frozen=True)
class Deed:
    """What was done, by whom, and how it was answered. Names no patient and no file."""

    tenant: str
    actor: str
    action: str
    target: str
    status: int
    trace_id: str


@dataclass(frozen=True)
class Head:
    """The newest entry of a chain: with it, one can tell later that nothing was cut off."""

    sequence: int
    sha256: str


@dataclass(frozen=True)
class ChainReport:
    """What came of a check. `broken_at` is the first entry that does not fit, None when all do."""

    head: Head
    broken_at: int | None


def record(session: Session, deed: Deed) -> AuditEntry:
    """Add an entry; others wait until this transaction ends."""
    session.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    head = fetch_head(session)
    at = session.scalar(select(func.clock_timestamp()))
    assert at is not None
    entry = AuditEntry(sequence=head.sequence + 1, at=at, previous_sha256=head.sha256, **asdict(deed))
    entry.sha256 = compute_sha256(entry)
    session.add(entry)
    session.flush()
    return entry


def fetch_head(session: Session) -> Head:
    """Return the newest entry."""
    newest = session.execute(
        select(AuditEntry.sequence, AuditEntry.sha256).order_by(AuditEntry.sequence.desc()).limit(1)
    ).one_or_none()
    return Head(0, FIRST_SHA256) if newest is None else Head(newest.sequence, newest.sha256)


def compute_sha256(entry: AuditEntry) -> str:
    """Return the digest of an entry: over its fields and the digest before it, as JSON with sorted names."""
    fields = {
        "sequence": entry.sequence,
        "at": _write_time(entry.at),
        "tenant": entry.tenant,
        "actor": entry.actor,
        "action": entry.action,
        "target": entry.target,
        "status": entry.status,
        "trace_id": entry.trace_id,
        "previous_sha256": entry.previous_sha256,
    }
    written = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(written.encode()).hexdigest()


def verify_chain(session: Session) -> ChainReport:
    """Compute every digest again, from the first entry on."""
    last = Head(0, FIRST_SHA256)
    for entry in iterate_entries(session):
        expected = (last.sequence + 1, last.sha256, compute_sha256(entry))
        if expected != (entry.sequence, entry.previous_sha256, entry.sha256):
            return ChainReport(last, broken_at=entry.sequence)
        last = Head(entry.sequence, entry.sha256)
    return ChainReport(last, broken_at=None)


def holds_head(session: Session, head: Head) -> bool:
    """Say whether an entry that was noted earlier is still there, unchanged."""
    kept = session.scalar(select(AuditEntry.sha256).where(AuditEntry.sequence == head.sequence))
    return kept == head.sha256


def iterate_entries(session: Session, *, after: int = 0) -> Iterator[AuditEntry]:
    """Yield the entries in their order, without holding them all."""
    while True:
        query = select(AuditEntry).where(AuditEntry.sequence > after).order_by(AuditEntry.sequence).limit(_PAGE)
        page = session.scalars(query).all()
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].sequence
        session.expunge_all()


def _write_time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")
