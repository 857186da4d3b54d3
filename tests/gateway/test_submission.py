"""Submission over real sockets, into a real database and a real object storage."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import re
import struct
import tarfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, select, text

from shared.artefacts import ArtefactKind
from shared.byte_units import MIB
from shared.database import transaction
from shared.stages import StageName
from shared.storage import ObjectStore, StoredObject
from shared.tables import Artefact, Event, Job, Outbox, Policy, StageRun
from shared.upload_kinds import is_head_enough, judge_foreign_kind, judge_kind
from tests.gateway.conftest import NOTHING, UPLOAD_LIMIT_BYTES, ZIP, RunningGateway
from tests.lost_answers import lost_answer_to_commit
from tests.stack.running import wait_until

Leftovers = Callable[[], tuple[set[str], int]]

LARGE_ZIP = ZIP + bytes(17 * MIB)
"""Three parts of a multipart put."""

SUBMISSIONS = 16
"""More than a gateway has threads for the database."""


def make_nifti() -> bytes:
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    header[344:348] = b"n+1\0"
    return bytes(header) + bytes(100)


def fetch_upload(engine: Engine, job_id: str) -> Artefact:
    with transaction(engine) as session:
        query = select(Artefact).where(Artefact.job_id == uuid.UUID(job_id), Artefact.kind == ArtefactKind.UPLOAD)
        return session.scalars(query).one()


def fetch_options(engine: Engine, job_id: str) -> dict[str, Any]:
    with transaction(engine) as session:
        return session.get_one(Job, uuid.UUID(job_id)).options


class TestAnAcceptedStudy:
    def test_is_answered_with_its_job_and_where_to_follow_it(self, gateway: RunningGateway) -> None:
        answer = gateway.http.post("/v1/jobs", files={"file": ("study.zip", ZIP)})
        job = answer.json()
        assert answer.status_code == 202
        assert answer.headers["location"] == f"/v1/jobs/{job['id']}" == job["links"]["self"]
        assert int(answer.headers["retry-after"]) >= 1
        assert (job["state"], job["progress"], job["problem"], job["priority"]) == ("queued", 0, None, 5)
        assert set(job) == {
            *("id", "state", "progress", "stages", "queue_position", "eta", "created_at", "finished_at", "deadline"),
            *("priority", "labels", "patient", "problem", "reused_from", "links", "trace_id"),
        }

    def test_is_planned_by_what_is_installed(self, gateway: RunningGateway) -> None:
        stages = {stage["name"]: (stage["state"], stage["reason"]) for stage in gateway.submit()["stages"]}
        assert list(stages) == list(StageName)
        assert stages["intake"] == ("ready", None)
        assert stages["mednext"] == stages["fusion"] == ("waiting", None)
        assert stages["fvlm"] == ("skipped", "model_not_installed")
        assert stages["delivery"] == ("skipped", "no_callback")

    @pytest.mark.parametrize("content", [ZIP, LARGE_ZIP], ids=["small", "large"])
    def test_is_stored_byte_by_byte(
        self, gateway: RunningGateway, engine: Engine, store: ObjectStore, content: bytes
    ) -> None:
        upload = fetch_upload(engine, gateway.submit(content)["id"])
        assert (upload.size_bytes, upload.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        stored = io.BytesIO()
        store.fetch(StoredObject(upload.key, upload.size_bytes, upload.sha256), stored)
        assert stored.getvalue() == content

    def test_leaves_one_message_and_its_events(self, gateway: RunningGateway, engine: Engine) -> None:
        job_id = uuid.UUID(gateway.submit()["id"])
        with transaction(engine) as session:
            assert session.scalars(select(Outbox.stage).where(Outbox.job_id == job_id)).all() == [StageName.INTAKE]
            assert session.get_one(StageRun, (job_id, StageName.INTAKE)).publications == 1
            states = session.scalars(select(Event.state).where(Event.job_id == job_id, Event.stage.is_(None))).all()
        assert states == ["queued"]

    @pytest.mark.parametrize(
        ("name", "content", "kind"),
        [
            ("ct.nii", make_nifti(), "nifti"),
            ("ct.nii.gz", gzip.compress(make_nifti(), mtime=0), "nifti"),
            ("ct.zip", b"PK\x05\x06" + bytes(18), "zip"),
        ],
    )
    def test_is_told_apart_by_its_first_bytes(
        self, gateway: RunningGateway, engine: Engine, name: str, content: bytes, kind: str
    ) -> None:
        job = gateway.http.post("/v1/jobs", files={"file": (name, content)}).json()
        assert fetch_upload(engine, job["id"]).facts == {"kind": kind}
        # Only a NIfTI study is named by its file; another file's name may tell the patient for nothing.
        assert fetch_options(engine, job["id"]) == ({"upload_name": "ct"} if kind == "nifti" else {})

    def test_may_come_as_the_raw_body(self, gateway: RunningGateway, engine: Engine) -> None:
        headers = {"Content-Type": "application/zip"}
        job = gateway.http.post("/v1/jobs?priority=9", content=ZIP, headers=headers).json()
        assert job["priority"] == 9
        assert fetch_upload(engine, job["id"]).media_type == "application/zip"

    @pytest.mark.parametrize("is_file_first", [True, False])
    def test_may_bring_its_options_in_any_order(
        self, gateway: RunningGateway, engine: Engine, is_file_first: bool
    ) -> None:
        field = (None, "mednext, fvlm")
        parts: list[tuple[str, Any]] = [("models", field), ("series_instance_uid", (None, "1.2.840"))]
        parts.insert(0 if is_file_first else 2, ("file", ("study.zip", ZIP)))
        job = gateway.http.post("/v1/jobs", files=parts).json()
        options = fetch_options(engine, job["id"])
        assert (options["models"], options["series_instance_uid"]) == (["mednext", "fvlm"], "1.2.840")
        reasons = {stage["name"]: stage["reason"] for stage in job["stages"]}
        assert (reasons["ct_clip"], reasons["fvlm"]) == ("model_not_requested", "model_not_installed")


class TestThePolicy:
    @pytest.fixture(autouse=True)
    def offered(self, engine: Engine) -> None:
        with transaction(engine) as session:
            for name, needed in (("own", 1), ("measuring", 0)):
                document = {"threshold": 0.4, "minimum_models": needed}
                session.merge(Policy(id=f"{name}-1", name=name, digest="2", document=document, is_active=True))

    @pytest.mark.parametrize(("query", "policy"), [("", "default-1"), ("?policy=own", "own-1")])
    def test_is_the_one_asked_for(self, gateway: RunningGateway, engine: Engine, query: str, policy: str) -> None:
        job = gateway.http.post(f"/v1/jobs{query}", content=ZIP).json()
        with transaction(engine) as session:
            assert session.get_one(Job, uuid.UUID(job["id"])).policy_id == policy

    @pytest.mark.parametrize("name", ["unknown", "measuring"])
    def test_that_is_not_offered_is_told(self, gateway: RunningGateway, leftovers: Leftovers, name: str) -> None:
        answer = gateway.http.post(f"/v1/jobs?policy={name}", content=ZIP)
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
        (error,) = answer.json()["errors"]
        assert error["pointer"] == "/policy"
        assert error["message"].startswith("No policy of this name is offered here; there are ")
        assert "own" in error["message"]
        assert "measuring" not in error["message"]
        assert leftovers() == NOTHING


class TestARefusedBody:
    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"", (400, "empty_upload")),
            (b"\xff\xd8\xff\xe0 JFIF", (415, "not_an_archive")),
            (b"P", (415, "not_an_archive")),
            (gzip.compress(b"a tape archive" * 100, mtime=0), (415, "not_an_archive")),
            (bytes(5000), (415, "not_an_archive")),
        ],
    )
    @pytest.mark.parametrize("is_form", [True, False], ids=["form", "raw"])
    def test_is_told_what_it_was(
        self, gateway: RunningGateway, leftovers: Leftovers, content: bytes, expected: tuple[int, str], is_form: bool
    ) -> None:
        answer = (
            gateway.http.post("/v1/jobs", files={"file": ("study.zip", content)})
            if is_form
            else gateway.http.post("/v1/jobs", content=content)
        )
        assert (answer.status_code, answer.json()["code"]) == expected
        assert answer.headers["content-type"] == "application/problem+json"
        assert leftovers() == NOTHING

    @pytest.mark.parametrize(
        ("fields", "pointer"),
        [
            ({"priority": "10"}, "/priority"),
            ({"priority": "high"}, "/priority"),
            ({"models": "mednext,pneumonet"}, "/models"),
            ({"models": ""}, "/models"),
            ({"series_instance_uid": "1.2.x"}, "/series_instance_uid"),
            ({"series_instance_uid": "1" * 65}, "/series_instance_uid"),
            ({"colour/hue": "red"}, "/colour~1hue"),
            ({"priority": "1" * 9000}, "/priority"),
            ({"validate_only": "maybe"}, "/validate_only"),
            ({"labels": "site=north,site=south"}, "/labels"),
            ({"policy": "Own"}, "/policy"),
            ({"policy": "unknown"}, "/policy"),
            ({"split": ""}, "/split"),
            ({"split": "true", "series_instance_uid": "1.2"}, "/series_instance_uid"),
            ({"study_instance_uid": "1.2"}, "/study_instance_uid"),
        ],
    )
    def test_is_told_each_wrong_field(
        self, gateway: RunningGateway, leftovers: Leftovers, fields: dict[str, str], pointer: str
    ) -> None:
        after_the_file: list[tuple[str, Any]] = [("file", ("study.zip", LARGE_ZIP))]
        after_the_file += [(name, (None, value)) for name, value in fields.items()]
        answer = gateway.http.post("/v1/jobs", files=after_the_file)
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
        assert leftovers() == NOTHING

    def test_is_told_wrong_fields_of_the_query_too(self, gateway: RunningGateway) -> None:
        answer = gateway.http.post("/v1/jobs?priority=5&priority=6&x=1", content=ZIP)
        assert answer.json()["errors"] == [{"pointer": "/priority", "message": "Sent more than once"}]
        answer = gateway.http.post("/v1/jobs?x=1", content=ZIP)
        assert answer.json()["errors"] == [{"pointer": "/x", "message": "Unknown field"}]

    @pytest.mark.parametrize(
        ("content_type", "content", "code"),
        [
            ("multipart/form-data", ZIP, "malformed_request"),
            ("multipart/form-data; boundary=b", b"no boundary here", "malformed_request"),
            (
                "multipart/form-data; boundary=b",
                b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + ZIP,
                "malformed_request",
            ),
            ("multipart/form-data; boundary=" + "b" * 300, ZIP, "malformed_request"),
            ("multipart/form-data; boundary=b", b"", "empty_upload"),
            ("application/json", b"{}", "validation_failed"),
            ("text/plain", b"{}", "not_an_archive"),
        ],
    )
    def test_is_told_that_its_form_is_broken(
        self, gateway: RunningGateway, content_type: str, content: bytes, code: str
    ) -> None:
        answer = gateway.http.post("/v1/jobs", content=content, headers={"Content-Type": content_type})
        assert answer.json()["code"] == code

    def test_is_told_that_the_file_is_missing_or_doubled(self, gateway: RunningGateway, leftovers: Leftovers) -> None:
        answer = gateway.http.post("/v1/jobs", files={"priority": (None, "5")})
        assert answer.json()["errors"] == [{"pointer": "/file", "message": "Field required"}]
        twice = [("file", ("a.zip", ZIP)), ("file", ("b.zip", ZIP))]
        answer = gateway.http.post("/v1/jobs", files=twice)
        assert answer.json()["errors"] == [{"pointer": "/file", "message": "Sent more than once"}]
        assert leftovers() == NOTHING

    def test_is_not_unpacked_on_the_way(self, gateway: RunningGateway) -> None:
        answer = gateway.http.post("/v1/jobs", content=gzip.compress(ZIP), headers={"Content-Encoding": "gzip"})
        assert (answer.status_code, answer.json()["code"]) == (415, "not_an_archive")


def read_answer(gateway: RunningGateway, request: bytes) -> bytes:
    """Send bytes and read until the server closes the connection."""
    with gateway.connect() as connection:
        connection.sendall(request)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


def make_tar() -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("1.dcm"))
    return written.getvalue()


FOREIGN = {
    "rar": b"Rar!\x1a\x07\x01\0" + bytes(50),
    "7z": b"7z\xbc\xaf\x27\x1c" + bytes(50),
    "gzip": gzip.compress(b"anything" * 100, mtime=0),
    "tar": make_tar(),
    "tar.gz": gzip.compress(make_tar(), mtime=0),
    "bzip2": bz2.compress(b"anything"),
    "xz": lzma.compress(b"anything"),
    "zstd": b"\x28\xb5\x2f\xfd" + bytes(50),
    "iso": bytes(0x8001) + b"CD001" + bytes(50_000),
    "zip_volume": b"PK\x07\x08PK\x03\x04" + bytes(50),
    "dicom": bytes(128) + b"DICM" + bytes(500),
    "jpeg": b"\xff\xd8\xff\xe0 JFIF",
    "unknown": bytes(100_000),
}


class TestAForeignFile:
    @pytest.mark.parametrize("kind", FOREIGN)
    @pytest.mark.parametrize("is_form", [True, False], ids=["form", "raw"])
    def test_is_told_what_it_is(self, gateway: RunningGateway, leftovers: Leftovers, kind: str, is_form: bool) -> None:
        content = FOREIGN[kind]
        body = {"files": {"file": ("study.zip", content)}} if is_form else {"content": content}
        answer = gateway.http.post("/v1/jobs", **body)
        problem = answer.json()
        assert (answer.status_code, problem["code"], problem["found"]) == (415, "not_an_archive", kind)
        assert "a ZIP" in problem["detail"]
        assert leftovers() == NOTHING

    def test_that_is_one_dicom_file_is_advised_to_come_with_its_study(self, gateway: RunningGateway) -> None:
        detail = gateway.http.post("/v1/jobs", content=FOREIGN["dicom"]).json()["detail"]
        assert detail.startswith("It is a single DICOM file;")
        assert "Pack it with all other files of its study into a ZIP" in detail

    def test_is_named_whatever_pieces_it_comes_in(self) -> None:
        for kind, content in FOREIGN.items():
            head = next((content[:end] for end in range(len(content)) if is_head_enough(content[:end])), content)
            assert (judge_kind(head), judge_foreign_kind(head) or "unknown") == (None, kind)


class TestABodyLongerThanItsLength:
    def test_is_taken_as_long_as_it_said_and_the_rest_is_no_request(
        self, gateway: RunningGateway, engine: Engine
    ) -> None:
        head = f"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(ZIP)}\r\n\r\n"
        answers = read_answer(gateway, head.encode() + ZIP + b"and more than was said\r\n\r\n")
        assert answers.startswith(b"HTTP/1.1 202 ")
        assert answers.count(b"HTTP/1.1 ") == 2
        assert b"HTTP/1.1 400 " in answers
        job_id = re.search(rb"location: /v1/jobs/(\S+)", answers)
        assert job_id is not None
        assert fetch_upload(engine, job_id[1].decode()).size_bytes == len(ZIP)

    @pytest.mark.parametrize("length", ["-1", "1e3", "+5", "0x10"])
    def test_that_is_no_number_is_refused(self, gateway: RunningGateway, leftovers: Leftovers, length: str) -> None:
        head = f"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
        assert read_answer(gateway, head.encode() + ZIP).startswith(b"HTTP/1.1 400 ")
        assert leftovers() == NOTHING


class TestTheByteLimit:
    @pytest.mark.parametrize("length", [str(UPLOAD_LIMIT_BYTES + 1), "9" * 18])
    def test_refuses_an_announced_length_before_a_byte_comes_and_closes(
        self, gateway: RunningGateway, leftovers: Leftovers, length: str
    ) -> None:
        head = f"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
        answer = read_answer(gateway, head.encode())
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"connection: close" in answer.lower()
        assert b'"code": "upload_too_large"' in answer
        assert f'"limit_bytes": {UPLOAD_LIMIT_BYTES}'.encode() in answer
        assert leftovers() == NOTHING

    @pytest.mark.parametrize("is_form", [True, False], ids=["form", "raw"])
    def test_counts_what_really_comes(self, gateway: RunningGateway, leftovers: Leftovers, is_form: bool) -> None:
        def iterate() -> Iterator[bytes]:
            yield b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + ZIP if is_form else ZIP
            for _ in range(UPLOAD_LIMIT_BYTES // MIB):
                yield bytes(MIB)

        content_type = "multipart/form-data; boundary=b" if is_form else "application/zip"
        answer = gateway.http.post("/v1/jobs", content=iterate(), headers={"Content-Type": content_type})
        assert (answer.status_code, answer.json()["code"]) == (413, "upload_too_large")
        assert leftovers() == NOTHING

    def test_is_itself_accepted(self, gateway: RunningGateway, engine: Engine) -> None:
        content = ZIP.ljust(UPLOAD_LIMIT_BYTES, b"\0")
        assert fetch_upload(engine, gateway.submit(content)["id"]).size_bytes == UPLOAD_LIMIT_BYTES


class TestABodyThatBreaksOff:
    @pytest.mark.parametrize("sent", [len(ZIP), 10 * MIB], ids=["at the start", "after the first part"])
    def test_leaves_nothing_behind(
        self, gateway: RunningGateway, engine: Engine, store: ObjectStore, leftovers: Leftovers, sent: int
    ) -> None:
        head = f"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: {20 * MIB}\r\n"
        head += f"Idempotency-Key: cut-{sent}\r\n\r\n"
        with gateway.connect() as connection:
            connection.sendall(head.encode() + LARGE_ZIP[:sent])
            wait_until(lambda: is_reserved(engine, f"cut-{sent}"), "the request is being taken in")
        wait_until(lambda: not is_reserved(engine, f"cut-{sent}"), "the key is given back")
        assert leftovers() == NOTHING


def is_reserved(engine: Engine, key: str) -> bool:
    with transaction(engine) as session:
        return bool(session.scalar(text("SELECT count(*) FROM idempotency_keys WHERE key = :key"), {"key": key}))


@contextmanager
def each_new_job(engine: Engine, *, does: str) -> Iterator[None]:
    """Run PL/pgSQL in the database before the row of a job is written."""
    with transaction(engine) as session:
        session.execute(text(f"CREATE FUNCTION do_it() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {does}; END$$"))
        session.execute(text("CREATE TRIGGER do_it BEFORE INSERT ON jobs EXECUTE FUNCTION do_it()"))
    try:
        yield
    finally:
        with transaction(engine) as session:
            session.execute(text("DROP FUNCTION do_it CASCADE"))


def send_late(may_send: threading.Event) -> Iterator[bytes]:
    """Yield a body once it may be sent."""
    may_send.wait(30)
    yield ZIP


class TestAFailedCommit:
    def test_takes_the_object_back(self, gateway: RunningGateway, engine: Engine, leftovers: Leftovers) -> None:
        with each_new_job(engine, does="RAISE 'refused'"):
            answer = gateway.http.post("/v1/jobs", content=LARGE_ZIP, headers={"Idempotency-Key": "refused"})
        assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
        assert "refused" not in answer.json()["detail"]
        assert leftovers() == NOTHING
        assert not is_reserved(engine, "refused")

    def test_that_never_began_takes_the_object_back(
        self, gateway: RunningGateway, engine: Engine, store: ObjectStore
    ) -> None:
        """While the database takes no events, its threads are busy, and who finds none is sent away."""
        before, may_send = {key for key, _ in store.iterate_keys()}, threading.Event()
        seen: set[str] = set()

        def list_stored() -> set[str]:
            return {key for key, _ in store.iterate_keys()} - before

        def has_seen_all() -> bool:
            seen.update(list_stored())  # who is sent away takes its own back
            return len(seen) == SUBMISSIONS

        def send() -> httpx.Response:
            return gateway.http.post("/v1/jobs", content=send_late(may_send))

        with ThreadPoolExecutor(SUBMISSIONS) as callers:
            calls = [callers.submit(send) for _ in range(SUBMISSIONS)]
            time.sleep(3)  # all were let in: what the gateway asks of the database before a body, it has asked
            with transaction(engine) as session:
                session.execute(text("LOCK TABLE events IN EXCLUSIVE MODE"))
                may_send.set()
                wait_until(has_seen_all, "every body lies in storage")
                next(as_completed(calls))
            answers = [call.result() for call in calls]
        refused = [answer.json()["code"] for answer in answers if answer.status_code == 503]
        assert refused
        assert set(refused) == {"database_unavailable"}
        made = {fetch_upload(engine, answer.json()["id"]).key for answer in answers if answer.status_code == 202}
        assert len(made) + len(refused) == SUBMISSIONS
        assert list_stored() == made

    def test_that_the_database_broke_off_takes_the_object_back(
        self, gateway: RunningGateway, engine: Engine, leftovers: Leftovers
    ) -> None:
        with each_new_job(engine, does="PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW"):
            answer = gateway.http.post("/v1/jobs", content=ZIP)
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        assert leftovers() == NOTHING

    def test_whose_answer_alone_was_lost_keeps_the_object_that_its_job_names(
        self, gateway: RunningGateway, engine: Engine, store: ObjectStore
    ) -> None:
        headers = {"Idempotency-Key": "answer-lost"}
        with lost_answer_to_commit(lambda row: isinstance(row, Job)):
            answer = gateway.http.post("/v1/jobs", content=ZIP, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        replayed = gateway.http.post("/v1/jobs", content=ZIP, headers=headers)
        assert replayed.status_code == 202
        assert fetch_upload(engine, replayed.json()["id"]).key in {key for key, _ in store.iterate_keys()}
