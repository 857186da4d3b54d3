"""The Python client sends a large file in parts: against a real gateway, blocking and asynchronous."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from client import ApiError, AsyncClient, Client, Job
from client.exchange import OnProgress
from shared.artefacts import ArtefactKind
from shared.database import transaction
from shared.tables import Artefact
from shared.upload_tables import Upload
from tests.gateway.conftest import ZIP, RunningGateway

CONTENT = ZIP + bytes(range(256)) * 3000  # three parts, the last one short
Send = Callable[..., Job]


class Cut(Exception):
    """The program dies in the middle."""


def send(url: str, study: Path, *, on_progress: OnProgress | None = None, key: str | None = None) -> Job:
    with Client(url, parts_from_bytes=1) as client:
        return client.submit(study, {"priority": "7"}, idempotency_key=key, on_progress=on_progress, labels="site=x")


def send_asynchronously(
    url: str,
    study: Path,
    *,
    on_progress: OnProgress | None = None,
    key: str | None = None,
) -> Job:
    async def run() -> Job:
        async with AsyncClient(url, parts_from_bytes=1) as client:
            return await client.submit(
                study, {"priority": "7"}, idempotency_key=key, on_progress=on_progress, labels="site=x"
            )

    return asyncio.run(run())


BOTH = pytest.mark.parametrize("submit", [send, send_asynchronously])


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A file that no other test has sent."""
    path = tmp_path / "study.zip"
    path.write_bytes(CONTENT + uuid.uuid4().bytes)
    return path


def fetch_digest(engine: Engine, job: Job) -> str | None:
    with transaction(engine) as session:
        of_upload = (Artefact.job_id == uuid.UUID(job.id)) & (Artefact.kind == ArtefactKind.UPLOAD)
        return session.scalar(select(Artefact.sha256).where(of_upload))


def count_uploads(engine: Engine, study: Path) -> int:
    digest = hashlib.sha256(study.read_bytes()).hexdigest()
    with transaction(engine) as session:
        return len(session.scalars(select(Upload.id).where(Upload.announced_sha256 == digest)).all())


@BOTH
class TestALargeFile:
    def test_becomes_a_job_of_the_same_bytes_and_options(
        self, gateway: RunningGateway, engine: Engine, study: Path, submit: Send
    ) -> None:
        told: list[tuple[int, int]] = []
        job = submit(gateway.url, study, on_progress=lambda sent, size: told.append((sent, size)))
        document = gateway.http.get(f"/v1/jobs/{job.id}").json()
        assert (document["priority"], document["labels"]) == (7, {"site": "x"})
        size_bytes = study.stat().st_size
        assert told == [(262144, size_bytes), (524288, size_bytes), (size_bytes, size_bytes)]
        assert fetch_digest(engine, job) == hashlib.sha256(study.read_bytes()).hexdigest()

    def test_goes_on_where_a_program_died(
        self, gateway: RunningGateway, engine: Engine, study: Path, submit: Send
    ) -> None:
        def die(sent_bytes: int, size_bytes: int) -> None:
            if sent_bytes > size_bytes / 2:
                raise Cut

        with pytest.raises(Cut):
            submit(gateway.url, study, on_progress=die)
        (begun,) = [one for one in gateway.http.get("/v1/uploads").json()["items"] if len(one["received_parts"]) == 2]
        job = submit(gateway.url, study)
        assert gateway.http.get(f"/v1/uploads/{begun['id']}").json()["job_id"] == job.id
        assert count_uploads(engine, study) == 1

    def test_sent_again_under_its_key_is_the_same_job(self, gateway: RunningGateway, study: Path, submit: Send) -> None:
        key = str(uuid.uuid4())
        first, second = (submit(gateway.url, study, key=key) for _ in range(2))
        whole = gateway.http.post(
            "/v1/jobs?priority=7&labels=site%3Dx", content=study.read_bytes(), headers={"Idempotency-Key": key}
        )
        assert {first.id, second.id, whole.json()["id"]} == {first.id}
        study.write_bytes(CONTENT + uuid.uuid4().bytes)
        with pytest.raises(ApiError, match="key") as raised:
            submit(gateway.url, study, key=key)
        assert raised.value.code == "idempotency_key_reused"
