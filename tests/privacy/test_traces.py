"""Studies that tell the patient everywhere go through the whole platform; then everything that it keeps is searched."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pydicom
import pytest
import redis
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from deploy.embedded.state_folder import read_json
from shared.artefacts import ArtefactKind
from shared.settings import Settings
from shared.storage import ObjectStore
from shared.tables import Artefact, Base, Job, UploadFile
from tests.hostile.packing import edit, unpack
from tests.privacy.identity import (
    KNOWN_UID_MARK,
    MARK,
    NAME_MARK,
    UPLOAD_MARK,
    mark_files,
    pack,
)
from tests.privacy.marks import IDENTITY, expand, find_marks, iterate_files
from tests.stack.collector import Collector
from tests.stack.running import RunningStack, wait_until

pytestmark = pytest.mark.stack

# What objects and logs may not hold, the identifiers that a caller gets back included.
CONFIDENTIAL = (*IDENTITY, NAME_MARK, UPLOAD_MARK, KNOWN_UID_MARK)
READ_ONLY = ("again", "other patient")  # models see what the first study shows them already
PARTS = ("", "/intake", "/result", "/artifacts", "/events")


@dataclass(frozen=True)
class Told:
    """What became of the studies: the ids of their jobs by what was done to them, and digests of what names images."""

    jobs: dict[str, str]
    bodies: dict[str, dict[str, Any]]
    references: frozenset[str]


def name_another_patient(dataset: pydicom.Dataset) -> None:
    dataset.PatientID = f"{MARK} another"


def break_pixels(dataset: pydicom.Dataset) -> None:
    """Make decoders stumble over words of the patient."""
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset.PixelData = encapsulate([f"\xff\x4f\xff\x51 {MARK} is not a picture ".encode("latin-1") * 40])
    dataset["PixelData"].is_undefined_length = True


def break_numbers(dataset: pydicom.Dataset) -> None:
    """Put words of the patient where numbers are read."""
    for keyword in ("SliceThickness", "ImagePositionPatient", "RescaleSlope", "PixelSpacing", "NumberOfFrames"):
        dataset.add_new(keyword, "LO", f"{MARK} 1")


# For the session: classes of this module may run apart, and a second set of jobs would keep its names.
@pytest.fixture(scope="session")
def studies(phantom_zip: Path) -> dict[str, bytes]:
    """Archives, by what was done to them."""
    marked = mark_files(unpack(phantom_zip), "4711")
    return {
        "good": pack(marked),
        "again": pack(dict(list(marked.items())[:-1])),
        "other patient": pack(mark_files(unpack(phantom_zip), "4712")),
        "mixed": pack(edit(marked, name_another_patient, every=2)),
        "broken pixels": pack(edit(marked, break_pixels)),
        "broken numbers": pack(edit(marked, break_numbers)),
        "cut": pack(marked)[:-4000],
    }


@pytest.fixture(scope="session")
def told(stack: RunningStack, studies: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Told:
    jobs = {}
    for name, content in studies.items():
        form = {"file": (f"{UPLOAD_MARK}^Jane.zip", content)}
        options = {"validate_only": "true"} if name in READ_ONLY else {}
        jobs[name] = stack.http.post("/v1/jobs", files=form, data=options).json()["id"]
    bodies = {name: stack.wait_for_end(job_id) for name, job_id in jobs.items()}
    # Told now, for rows go after their time, and a worker's copies later.
    return Told(jobs, bodies, frozenset(digest for digest, _, _ in list_references(stack)))


@pytest.fixture(scope="session")
def settings(stack: RunningStack) -> Settings:
    named = {name.removeprefix("CTCLIP_").lower(): value for name, value in stack.environment.items()}
    return Settings(**named)  # type: ignore[arg-type]  # parsed by pydantic


def iterate_rows(stack: RunningStack) -> Iterator[tuple[str, bytes]]:
    with stack.engine.connect() as connection:
        for table in Base.metadata.tables:
            for (row,) in connection.execute(text(f"SELECT t::text FROM {table} t")):  # our own names
                yield table, row.encode()


def iterate_answers(stack: RunningStack, told: Told) -> Iterator[tuple[str, bytes]]:
    for job_id in told.jobs.values():
        for part in PARTS:
            yield part, stack.http.get(f"/v1/jobs/{job_id}{part}").content
        for artefact in stack.http.get(f"/v1/jobs/{job_id}/artifacts").json()["items"]:
            if ArtefactKind(artefact["name"]).names_images:
                continue
            yield artefact["name"], stack.http.get(f"/v1/jobs/{job_id}/artifacts/{artefact['name']}").content
    for path in ("/v1/jobs?limit=100", "/metrics", "/v1/models"):
        yield path, stack.http.get(path).content


def iterate_objects(stack: RunningStack, settings: Settings) -> Iterator[tuple[str, bytes]]:
    """Yield every object of the storage but the uploads, and those that may hold UIDs."""
    left_out = {ArtefactKind.UPLOAD, *(kind for kind in ArtefactKind if kind.names_images)}
    with Session(stack.engine) as session:
        keys = set(session.scalars(select(Artefact.key).where(Artefact.kind.in_(left_out))))
    store = ObjectStore(settings)
    for key, _ in store.iterate_keys():
        if key not in keys:
            yield key, stack.http.get(store.presign(key)).content


def iterate_references(stack: RunningStack, settings: Settings) -> Iterator[tuple[str, bytes]]:
    """Yield the objects that hold the UIDs of images, datasets inflated."""
    for _, kind, key in list_references(stack):
        content = stack.http.get(ObjectStore(settings).presign(key)).content
        is_dicom = kind.file_name.endswith(".dcm")
        yield kind, str(pydicom.dcmread(io.BytesIO(content))).encode() if is_dicom else content


def list_targets(stack: RunningStack) -> list[str]:
    """Return the addresses at which processes tell their metrics."""
    jobs: Any = (read_json(stack.state / "prometheus.yml") or {})["scrape_configs"]
    return [address for job in jobs for group in job["static_configs"] for address in group["targets"]]


def list_references(stack: RunningStack) -> list[tuple[str, ArtefactKind, str]]:
    """Return digest, kind and key of what refers to images; workers keep copies under the digest."""
    kinds = [kind for kind in ArtefactKind if kind.names_images]
    with Session(stack.engine) as session:
        rows = session.scalars(select(Artefact).where(Artefact.kind.in_(kinds))).all()
        return [(row.sha256, row.kind, row.key) for row in rows]


def find_in(places: Iterator[tuple[str, bytes]], *marks: str) -> dict[str, list[bytes]]:
    found = {
        name: traces for name, content in places for part in expand(content) if (traces := find_marks(part, *marks))
    }
    return {name: traces[:3] for name, traces in found.items()}


class TestOutcome:
    def test_is_that_of_the_same_studies_without_a_patient(self, told: Told) -> None:
        states = {name: (job["state"], (job["problem"] or {}).get("code")) for name, job in told.bodies.items()}
        assert states["good"] == ("completed", None)
        assert {states[name] for name in READ_ONLY} == {("completed", None)}
        assert states["mixed"] == ("rejected", "mixed_studies")
        assert states["broken pixels"] == ("rejected", "series_incomplete")
        assert states["broken numbers"][0] == "rejected"
        assert states["cut"] == ("rejected", "archive_truncated")


class TestPseudonyms:
    def test_link_the_studies_of_one_patient_only(self, told: Told) -> None:
        patients = {name: job["patient"] for name, job in told.bodies.items()}
        assert patients["good"] == patients["again"] is not None
        assert patients["other patient"] not in {patients["good"], None}

    def test_are_not_made_of_several_patients(self, told: Told) -> None:
        assert told.bodies["mixed"]["patient"] is None

    def test_find_the_jobs(self, stack: RunningStack, told: Told) -> None:
        query = {"patient": told.bodies["good"]["patient"]}
        found = {job["id"] for job in stack.http.get("/v1/jobs", params=query).json()["items"]}
        assert {told.jobs["good"], told.jobs["again"]} <= found
        assert told.jobs["other patient"] not in found


@pytest.mark.usefixtures("told")
class TestTraces:
    def test_are_in_the_upload_itself(self, studies: dict[str, bytes]) -> None:
        """Else the search would prove nothing."""
        assert find_marks(studies["good"], MARK, NAME_MARK)

    def test_are_in_no_object(self, stack: RunningStack, settings: Settings) -> None:
        objects = dict(iterate_objects(stack, settings))
        assert len(objects) >= 3
        assert not find_in(iter(objects.items()), *CONFIDENTIAL)

    def test_are_in_no_object_that_refers_to_images_but_uids(self, stack: RunningStack, settings: Settings) -> None:
        objects = dict(iterate_references(stack, settings))
        assert ArtefactKind.SOURCE_SERIES in objects
        assert not find_in(iter(objects.items()), MARK, NAME_MARK, UPLOAD_MARK)

    def test_are_in_no_row(self, stack: RunningStack) -> None:
        assert not find_in(iterate_rows(stack), *IDENTITY, UPLOAD_MARK)

    def test_are_in_no_row_but_the_names_of_files(self, stack: RunningStack) -> None:
        rows = ((table, row) for table, row in iterate_rows(stack) if table != UploadFile.__tablename__)
        assert not find_in(rows, NAME_MARK)

    def test_are_in_no_answer(self, stack: RunningStack, told: Told) -> None:
        assert not find_in(iterate_answers(stack, told), *IDENTITY, UPLOAD_MARK)

    def test_are_in_no_log(self, stack: RunningStack) -> None:
        assert not find_in(iterate_files(stack.state / "logs", but=set()), *CONFIDENTIAL)

    def test_are_in_no_metric_of_any_process(self, stack: RunningStack) -> None:
        pages = [(address, stack.http.get(f"http://{address}/metrics").content) for address in list_targets(stack)]
        assert len(pages) == 6
        assert all(b"ctclip_" in page for _, page in pages)
        assert not find_in(iter(pages), *CONFIDENTIAL)

    def test_are_in_no_span(self, collector: Collector) -> None:
        wait_until(lambda: len(collector.raw) > 3, "spans are exported", 30)
        assert not find_in((("span", sent) for sent in list(collector.raw)), *CONFIDENTIAL)

    def test_are_in_no_file_of_the_platform(self, stack: RunningStack, told: Told) -> None:
        """The broker's journal and the cluster of the database included: what was deleted still stands there."""
        copies = told.references | {digest for digest, _, _ in list_references(stack)}
        files = iterate_files(stack.state, but={"storage"})
        kept = ((name, content) for name, content in files if Path(name).name not in copies)
        assert not find_in(kept, *IDENTITY, UPLOAD_MARK)

    def test_are_in_no_key_of_the_broker(self, stack: RunningStack) -> None:
        broker = redis.Redis.from_url(stack.environment["CTCLIP_BROKER_URL"])
        kept = ((repr(key), repr(key).encode() + (broker.dump(key) or b"")) for key in broker.scan_iter())
        assert not find_in(kept, *CONFIDENTIAL)

    def test_are_not_shown_by_flower(self, stack: RunningStack) -> None:
        secrets = read_json(stack.state / "secrets.json") or {}
        login = (str(secrets["flower_user"]), str(secrets["flower_password"]))
        tasks = stack.http.get(f"{stack.description['flower_url']}/api/tasks?limit=1000", auth=login)
        assert tasks.json()
        assert not find_marks(tasks.content, *CONFIDENTIAL)


class TestFailedStatements:
    def test_are_logged_without_the_row(self, stack: RunningStack) -> None:
        values = {"name": f"{NAME_MARK} of a failed row"}
        failing = text("INSERT INTO upload_files VALUES (gen_random_uuid(), 0, :name, 1, 'used')")
        with pytest.raises(DBAPIError), stack.engine.begin() as connection:
            connection.execute(failing, values)
        log = stack.state / "logs" / "postgres.log"
        wait_until(lambda: b"fk_upload_files_job_id" in log.read_bytes(), "PostgreSQL logs the failure", 30)
        assert not find_marks(log.read_bytes(), *CONFIDENTIAL)


class TestAfterRetention:
    def test_nothing_tells_the_patient(self, stack: RunningStack, settings: Settings, told: Told) -> None:
        job_ids = list(told.jobs.values())
        with Session(stack.engine) as session, session.begin():
            past = func.now() - settings.upload_retention - timedelta(hours=1)
            session.execute(update(Job).where(Job.id.in_(job_ids)).values(finished_at=past))
            session.execute(update(Artefact).where(Artefact.job_id.in_(job_ids)).values(created_at=past))
        wait_until(lambda: count_uploads(stack, job_ids) == 0, "the uploads are removed", 60)
        everything = {
            **find_in(iterate_rows(stack), *IDENTITY, NAME_MARK, UPLOAD_MARK),
            **find_in(iterate_objects(stack, settings), *IDENTITY, NAME_MARK, UPLOAD_MARK),
            **find_in(iterate_answers(stack, told), *IDENTITY, NAME_MARK, UPLOAD_MARK),
        }
        assert not everything


def count_uploads(stack: RunningStack, job_ids: list[str]) -> int:
    with Session(stack.engine) as session:
        ours = (Artefact.job_id.in_(job_ids), Artefact.kind == ArtefactKind.UPLOAD)
        return session.scalar(select(func.count()).select_from(Artefact).where(*ours)) or 0
