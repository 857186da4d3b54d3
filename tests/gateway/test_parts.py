"""Uploads in parts: cut, resumed, put together, submitted."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select, update

from gateway.uploads.division import MOST_PARTS, SMALLEST_PART_BYTES, divide
from shared.byte_units import MIB
from shared.database import transaction
from shared.storage import ObjectStore, StoredObject
from shared.tables import Artefact
from shared.upload_tables import Upload
from tests.gateway.conftest import NOTHING, UPLOAD_LIMIT_BYTES, RunningGateway
from tests.stack.running import wait_until
from workers.control.upload_expiry import expire_uploads

CONTENT = b"PK\x03\x04" + bytes(range(256)) * 3000  # three parts: 768,004 bytes
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def digest(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


class Sender:
    """A caller that sends one file in parts."""

    def __init__(self, gateway: RunningGateway, content: bytes = CONTENT, **announced: str) -> None:
        self.http, self.content = gateway.http, content
        answer = self.http.post("/v1/uploads", json={"size_bytes": len(content), **announced})
        assert answer.status_code == 201, answer.text
        self.made: dict[str, Any] = answer.json()
        self.path = f"/v1/uploads/{self.made['id']}"
        assert answer.headers["location"] == self.path

    def cut(self, number: int) -> bytes:
        size = int(self.made["part_size_bytes"])
        return self.content[(number - 1) * size : number * size]

    def put(self, number: int, content: bytes | None = None, announced: str | None = None) -> httpx.Response:
        body = self.cut(number) if content is None else content
        headers = {} if announced is None else {"Content-Digest": announced}
        return self.http.put(f"{self.path}/parts/{number}", content=body, headers=headers)

    def put_all(self) -> None:
        for number in range(1, self.made["parts"] + 1):
            answer = self.put(number, announced=digest(self.cut(number)))
            assert answer.status_code == 200, answer.text

    def read(self) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(self.path).json()
        return found

    def complete(self) -> httpx.Response:
        return self.http.post(f"{self.path}/complete")

    def submit(self, **options: object) -> httpx.Response:
        headers = {"Idempotency-Key": str(key)} if (key := options.pop("key", None)) else {}
        return self.http.post("/v1/jobs", json={"upload_id": self.made["id"], **options}, headers=headers)


class TestAWholeUpload:
    def test_becomes_a_job_of_the_same_bytes(
        self, gateway: RunningGateway, engine: Engine, store: ObjectStore, leftovers: Callable[[], tuple[set[str], int]]
    ) -> None:
        sender = Sender(gateway, sha256=SHA256.upper())
        assert (sender.made["parts"], sender.made["received_parts"]) == (3, [])
        for number in (3, 1, 2):
            assert sender.put(number).json() == {
                "number": number,
                "size_bytes": len(sender.cut(number)),
                "sha256": hashlib.sha256(sender.cut(number)).hexdigest(),
            }
        completed = sender.complete()
        assert completed.status_code == 200, completed.text
        assert (completed.json()["sha256"], completed.json()["size_bytes"]) == (SHA256, len(CONTENT))
        answer = sender.submit(priority=7, labels={"site": "north"}, models=["mednext"])
        assert answer.status_code == 202, answer.text
        job = answer.json()
        assert (job["priority"], job["labels"]) == (7, {"site": "north"})
        with transaction(engine) as session:
            stored = session.scalars(select(Artefact).where(Artefact.job_id == uuid.UUID(job["id"]))).one()
        assert (stored.sha256, stored.media_type) == (SHA256, "application/zip")
        whole = StoredObject(stored.key, stored.size_bytes, stored.sha256)
        assert b"".join(store.iterate(whole)) == CONTENT
        assert (sender.read()["state"], sender.read()["job_id"]) == ("submitted", job["id"])
        assert leftovers() == (set(), 1)  # no part is left

    def test_completed_again_is_answered_alike(self, gateway: RunningGateway) -> None:
        sender = Sender(gateway)
        sender.put_all()
        first, second = sender.complete(), sender.complete()
        assert (first.status_code, second.status_code, second.json()) == (200, 200, first.json())
        assert sender.put(1).json()["code"] == "upload_already_complete"

    def test_completed_by_many_at_once_is_put_together_once(
        self, gateway: RunningGateway, leftovers: Callable[[], tuple[set[str], int]]
    ) -> None:
        sender = Sender(gateway)
        sender.put_all()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: sender.complete(), range(8)))
        assert {answer.status_code for answer in answers} <= {200, 409}
        assert {answer.json()["code"] for answer in answers if answer.status_code == 409} <= {"upload_busy"}
        assert sender.complete().json()["sha256"] == SHA256
        assert sender.http.delete(sender.path).status_code == 204
        assert leftovers() == NOTHING

    def test_of_one_part_needs_no_copy(self, gateway: RunningGateway) -> None:
        sender = Sender(gateway, b"PK\x03\x04 small")
        sender.put_all()
        assert sender.complete().json()["sha256"] == hashlib.sha256(sender.content).hexdigest()
        assert sender.submit().status_code == 202

    def test_is_submitted_once(self, gateway: RunningGateway) -> None:
        sender = Sender(gateway)
        sender.put_all()
        sender.complete()
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: sender.submit(), range(6)))
        accepted = [answer.json()["id"] for answer in answers if answer.status_code == 202]
        refused = [answer.json() for answer in answers if answer.status_code != 202]
        assert len(accepted) == 1
        assert {(problem["code"], problem["job_id"]) for problem in refused} == {
            ("upload_already_submitted", *accepted)
        }

    def test_submitted_again_under_its_key_is_replayed(self, gateway: RunningGateway) -> None:
        sender, key = Sender(gateway), str(uuid.uuid4())
        sender.put_all()
        sender.complete()
        first, second = sender.submit(key=key), sender.submit(key=key)
        assert (second.status_code, second.json()["id"]) == (202, first.json()["id"])
        assert second.headers["idempotent-replayed"] == "true"
        assert sender.submit(key=key, priority=1).json()["code"] == "idempotency_key_reused"


class TestACutUpload:
    def test_tells_what_has_come_and_goes_on(self, gateway: RunningGateway) -> None:
        sender = Sender(gateway)
        assert sender.put(2).status_code == 200
        head = f"PUT {sender.path}/parts/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(sender.cut(1))}\r\n\r\n"
        with gateway.connect() as connection:
            connection.sendall(head.encode() + sender.cut(1)[:100_000])
        wait_until(lambda: sender.read()["received_parts"] == [2], "the cut part is forgotten", 10)
        refused = sender.complete().json()
        assert (refused["status"], refused["code"], refused["missing_parts"]) == (409, "upload_incomplete", [1, 3])
        early = sender.submit().json()
        assert (early["code"], early["missing_parts"]) == ("upload_incomplete", [1, 3])
        assert [sender.put(number).status_code for number in (1, 3)] == [200, 200]
        assert sender.complete().json()["sha256"] == SHA256

    def test_leaves_nothing_once_aborted(
        self, gateway: RunningGateway, leftovers: Callable[[], tuple[set[str], int]]
    ) -> None:
        sender = Sender(gateway)
        sender.put(1)
        assert sender.made["id"] in sender.http.get("/v1/uploads").text
        assert sender.http.delete(sender.path).status_code == 204
        assert [sender.http.get(sender.path).json()["code"], sender.put(1).json()["code"]] == ["upload_not_found"] * 2
        assert sender.made["id"] not in sender.http.get("/v1/uploads").text
        assert leftovers() == NOTHING

    def test_goes_when_it_expires(
        self,
        gateway: RunningGateway,
        engine: Engine,
        store: ObjectStore,
        leftovers: Callable[[], tuple[set[str], int]],
    ) -> None:
        sender, whole = Sender(gateway), Sender(gateway)
        sender.put(1)
        whole.put_all()
        whole.complete()
        ids = [uuid.UUID(one.made["id"]) for one in (sender, whole)]
        with transaction(engine) as session:
            expired = func.now() - timedelta(seconds=1)
            session.execute(update(Upload).where(Upload.id.in_(ids)).values(expires_at=expired))
        assert sender.read()["code"] == "upload_not_found"
        assert expire_uploads(engine, store) == 2
        with transaction(engine) as session:
            assert session.scalar(select(func.count()).where(Upload.id.in_(ids))) == 0
        assert leftovers() == NOTHING


class TestAPart:
    @pytest.mark.parametrize("number", [0, 4, 10**9])
    def test_that_the_upload_has_not_is_refused(self, gateway: RunningGateway, number: int) -> None:
        problem = Sender(gateway).put(number, b"x").json()
        assert (problem["status"], problem["code"], problem["parts"]) == (422, "upload_part_unknown", 3)

    @pytest.mark.parametrize("change", [-1, 1])
    @pytest.mark.parametrize("is_announced", [True, False])
    def test_of_another_size_leaves_nothing(
        self,
        gateway: RunningGateway,
        change: int,
        leftovers: Callable[[], tuple[set[str], int]],
        *,
        is_announced: bool,
    ) -> None:
        sender = Sender(gateway)
        content = (sender.cut(2) + b"x")[: len(sender.cut(2)) + change]
        body = content if is_announced else iter([content])
        problem = sender.http.put(f"{sender.path}/parts/2", content=body).json()
        assert (problem["status"], problem["code"]) == (400, "upload_part_size_wrong")
        assert (problem["expected_bytes"], problem["found_bytes"]) == (len(sender.cut(2)), len(content))
        assert (sender.read()["received_parts"], leftovers()) == ([], NOTHING)

    def test_with_another_digest_leaves_nothing(
        self, gateway: RunningGateway, leftovers: Callable[[], tuple[set[str], int]]
    ) -> None:
        sender = Sender(gateway)
        problem = sender.put(2, announced=digest(b"other")).json()
        assert (problem["status"], problem["code"]) == (400, "checksum_mismatch")
        assert (sender.read()["received_parts"], leftovers()) == ([], NOTHING)
        assert sender.put(2, announced=digest(sender.cut(2))).status_code == 200

    def test_that_begins_no_archive_is_refused_at_once(self, gateway: RunningGateway) -> None:
        sender = Sender(gateway, b"\xff\xd8\xff\xe0" + CONTENT)
        assert (sender.put(1).json()["code"], sender.put(2).status_code) == ("not_an_archive", 200)

    def test_again_is_no_error_and_other_bytes_overwrite_nothing(
        self, gateway: RunningGateway, leftovers: Callable[[], tuple[set[str], int]]
    ) -> None:
        sender = Sender(gateway)
        for number in (1, 2):
            first, again = sender.put(number), sender.put(number)
            assert (again.status_code, again.json()) == (200, first.json())
            conflict = sender.put(number, bytes(len(sender.cut(number)))).json()
            assert (conflict["status"], conflict["code"]) == (409, "upload_part_conflict")
            assert conflict["received_sha256"] == first.json()["sha256"]
        sender.http.delete(sender.path)
        assert leftovers() == NOTHING

    def test_sent_by_many_at_once_is_kept_once(
        self, gateway: RunningGateway, leftovers: Callable[[], tuple[set[str], int]]
    ) -> None:
        sender = Sender(gateway)
        others = [sender.cut(2), bytes(len(sender.cut(2)))] * 4
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda content: sender.put(2, content), others))
        found = {(answer.status_code, answer.json().get("code")) for answer in answers}
        assert found == {(200, None), (409, "upload_part_conflict")}
        sender.http.delete(sender.path)
        assert leftovers() == NOTHING


class TestAnAnnouncement:
    def test_of_too_many_bytes_names_the_limit(self, gateway: RunningGateway) -> None:
        answer = gateway.http.post("/v1/uploads", json={"size_bytes": UPLOAD_LIMIT_BYTES + 1})
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (413, "upload_too_large")
        assert problem["limit_bytes"] == UPLOAD_LIMIT_BYTES

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({}, "/size_bytes"),
            ({"size_bytes": 0}, "/size_bytes"),
            ({"size_bytes": "7"}, "/size_bytes"),
            ({"size_bytes": 7, "sha256": "abc"}, "/sha256"),
            ({"size_bytes": 7, "name": "x"}, "/name"),
        ],
    )
    def test_that_is_wrong_names_the_field(self, gateway: RunningGateway, body: object, pointer: str) -> None:
        answer = gateway.http.post("/v1/uploads", json=body)
        assert (answer.status_code, [error["pointer"] for error in answer.json()["errors"]]) == (422, [pointer])

    @pytest.mark.parametrize("announced", ["text/plain", "application/x-www-form-urlencoded", None])
    def test_that_is_not_called_json_is_told_so(self, gateway: RunningGateway, announced: str | None) -> None:
        headers = {} if announced is None else {"Content-Type": announced}
        answer = gateway.http.post("/v1/uploads", content=b'{"size_bytes": 7}', headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")

    @pytest.mark.parametrize("body", [b"{", b"\xff"])
    def test_that_is_no_json_is_malformed(self, gateway: RunningGateway, body: bytes) -> None:
        answer = gateway.http.post("/v1/uploads", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")

    def test_longer_than_any_is_refused_before_it_is_read(self, gateway: RunningGateway) -> None:
        headers = {"Content-Type": "application/json"}
        for body in (b'{"size_bytes": ' + b"7" * MIB + b"}", iter([b"[", b" " * MIB, b"]"])):
            problem = gateway.http.post("/v1/uploads", content=body, headers=headers).json()
            assert (problem["status"], problem["code"], problem["limit_bytes"]) == (413, "upload_too_large", MIB)

    def test_with_many_wrong_fields_names_some(self, gateway: RunningGateway) -> None:
        problem = gateway.http.post("/v1/uploads", json={"size_bytes": 7, **{f"x{n}": 1 for n in range(5000)}}).json()
        assert (problem["code"], len(problem["errors"])) == ("validation_failed", 100)

    def test_of_another_digest_is_found_when_completed(
        self, gateway: RunningGateway, leftovers: Callable[[], tuple[set[str], int]]
    ) -> None:
        sender = Sender(gateway, sha256="0" * 64)
        sender.put_all()
        problem = sender.complete().json()
        assert (problem["status"], problem["code"]) == (400, "checksum_mismatch")
        assert (sender.read()["state"], sender.read()["received_parts"]) == ("open", [1, 2, 3])
        sender.http.delete(sender.path)
        assert leftovers() == NOTHING

    def test_of_another_tenant_is_not_found(self, gateway: RunningGateway, engine: Engine) -> None:
        sender = Sender(gateway)
        with transaction(engine) as session:
            session.execute(update(Upload).where(Upload.id == uuid.UUID(sender.made["id"])).values(tenant="another"))
        answers = [sender.http.get(sender.path), sender.put(1), sender.complete(), sender.submit()]
        assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(404, "upload_not_found")}

    @given(st.integers(1, 2**45))
    def test_of_any_size_is_divided_into_few_parts_that_make_it_up(self, size_bytes: int) -> None:
        division = divide(size_bytes)
        assert 1 <= division.parts <= MOST_PARTS
        assert division.part_size_bytes % SMALLEST_PART_BYTES == 0
        sizes = [division.measure(number) for number in range(1, division.parts + 1)]
        assert sum(sizes) == size_bytes
        assert all(size == division.part_size_bytes for size in sizes[:-1])
        assert sizes[-1] > 0


class TestASubmissionInJson:
    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({}, "/upload_id"),
            ({"upload_id": "17"}, "/upload_id"),
            ({"upload_id": str(uuid.uuid4()), "models": ["fusion"]}, "/models"),
            ({"upload_id": str(uuid.uuid4()), "models": "mednext"}, "/models"),
            ({"upload_id": str(uuid.uuid4()), "priority": "7"}, "/priority"),
            ({"upload_id": str(uuid.uuid4()), "labels": "a=b"}, "/labels"),
            ({"upload_id": str(uuid.uuid4()), "labels": {"a": "\0"}}, "/labels/a"),
            ({"upload_id": str(uuid.uuid4()), "colour": 1}, "/colour"),
            ([], ""),
        ],
    )
    def test_that_is_wrong_names_the_field(self, gateway: RunningGateway, body: object, pointer: str) -> None:
        answer = gateway.http.post("/v1/jobs", json=body)
        assert (answer.status_code, [error["pointer"] for error in answer.json()["errors"]]) == (422, [pointer])

    @pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b"\xff"])
    def test_that_is_no_json_is_malformed(self, gateway: RunningGateway, body: bytes) -> None:
        answer = gateway.http.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")

    def test_takes_options_of_the_query_unless_they_stand_twice(self, gateway: RunningGateway) -> None:
        sender = Sender(gateway)
        sender.put_all()
        sender.complete()
        body = {"upload_id": sender.made["id"], "priority": 3}
        twice = gateway.http.post("/v1/jobs?priority=4", json=body).json()
        assert [error["pointer"] for error in twice["errors"]] == ["/priority"]
        job = gateway.http.post("/v1/jobs?labels=site%3Dnorth", json=body).json()
        assert (job["priority"], job["labels"]) == (3, {"site": "north"})
