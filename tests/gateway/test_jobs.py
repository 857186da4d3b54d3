"""Following jobs."""

from __future__ import annotations

import base64
import uuid
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import Engine, select, update

from gateway.jobs.paging import make_cursor, parse_cursor
from gateway.jobs.schemas import JobRecord
from gateway.problems.handlers import InvalidFields
from shared.database import transaction
from shared.errors import InputProblem
from shared.problems import CATALOGUE, ProblemCode
from shared.settings import Settings
from shared.stages import StageName
from shared.states import JobState
from shared.storage import ObjectStore
from shared.tables import Job, StageRun
from tests.gateway.conftest import RunningGateway
from tests.gateway.pipeline import add_masks, complete_intake, end_intake, finish_job, lease_stage


def submit(gateway: RunningGateway) -> uuid.UUID:
    return uuid.UUID(gateway.submit()["id"])


def get(gateway: RunningGateway, job_id: uuid.UUID, rest: str = "", **headers: str) -> httpx.Response:
    return gateway.http.get(f"/v1/jobs/{job_id}{rest}", headers=headers)


class TestAJob:
    def test_tells_how_far_it_is(self, gateway: RunningGateway, engine: Engine) -> None:
        job_id = submit(gateway)
        assert get(gateway, job_id).json()["progress"] == 0
        lease_stage(engine, job_id, StageName.INTAKE)
        with transaction(engine) as session:
            session.get_one(StageRun, (job_id, StageName.INTAKE)).progress = 0.5
        job = get(gateway, job_id).json()
        # Three stages were planned: intake, MedNeXt and fusion.
        assert (job["state"], job["progress"], job["queue_position"]) == (
            "running",
            pytest.approx(0.5 / 3, abs=1e-4),
            None,
        )
        assert (job["stages"][0]["state"], job["stages"][0]["attempt"]) == ("leased", 1)

    def test_offers_each_link_once_there_is_something_behind_it(self, gateway: RunningGateway, engine: Engine) -> None:
        job_id = submit(gateway)
        assert get(gateway, job_id).json()["links"] == {
            "self": f"/v1/jobs/{job_id}",
            "result": None,
            "intake": None,
            "events": f"/v1/jobs/{job_id}/events",
            "artifacts": f"/v1/jobs/{job_id}/artifacts",
        }
        finish_job(engine, job_id)
        links = get(gateway, job_id).json()["links"]
        for name in ("self", "result", "intake", "events", "artifacts"):
            assert gateway.http.get(links[name]).status_code == 200

    def test_says_when_to_ask_again_until_it_has_ended(self, gateway: RunningGateway, engine: Engine) -> None:
        job_id = submit(gateway)
        assert int(get(gateway, job_id).headers["retry-after"]) >= 1
        finish_job(engine, job_id)
        answer = get(gateway, job_id)
        assert "retry-after" not in answer.headers
        assert (answer.json()["state"], answer.json()["progress"]) == ("completed_partial", 1)
        assert answer.json()["finished_at"].endswith("Z")
        assert next(stage["seconds"] for stage in answer.json()["stages"] if stage["name"] == "fusion") >= 0

    def test_is_not_sent_again_while_it_has_not_changed(self, gateway: RunningGateway, engine: Engine) -> None:
        job_id = submit(
            gateway,
        )
        finish_job(engine, job_id)
        etag = get(gateway, job_id).headers["etag"]
        for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
            answer = get(gateway, job_id, **{"If-None-Match": known})
            assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
        assert get(gateway, job_id, **{"If-None-Match": '"other"'}).status_code == 200

    def test_has_a_new_etag_when_it_moved_on(self, gateway: RunningGateway, engine: Engine) -> None:
        job_id = submit(gateway)
        etag = get(gateway, job_id).headers["etag"]
        complete_intake(engine, job_id)
        assert get(gateway, job_id, **{"If-None-Match": etag}).status_code == 200

    def test_shows_the_problem_that_ended_it(self, gateway: RunningGateway, engine: Engine, settings: Settings) -> None:
        job_id = submit(gateway)
        end_intake(engine, settings, job_id, [InputProblem(ProblemCode.NO_DICOM_IMAGES, "Only text.", files=3)])
        job = get(gateway, job_id).json()
        assert (job["state"], job["problem"]["code"], job["problem"]["files"]) == ("rejected", "no_dicom_images", 3)
        assert job["problem"]["instance"] == f"/v1/jobs/{job_id}"
        assert job["problem"]["advice"] == CATALOGUE[ProblemCode.NO_DICOM_IMAGES].advice

    @pytest.mark.parametrize("job_id", ["0f8fad5b-d9cb-469f-a165-70867728950e", "17", "%00", "..%2f..%2fetc"])
    @pytest.mark.parametrize("rest", ["", "/result", "/intake", "/artifacts", "/artifacts/masks"])
    def test_that_does_not_exist_is_not_found(self, gateway: RunningGateway, job_id: str, rest: str) -> None:
        answer = gateway.http.get(f"/v1/jobs/{job_id}{rest}")
        assert answer.status_code == 404
        assert answer.json()["code"] in {"job_not_found", "not_found"}

    def test_of_another_tenant_is_not_found(self, gateway: RunningGateway, engine: Engine) -> None:
        job_id = submit(gateway)
        with transaction(engine) as session:
            session.execute(update(Job).where(Job.id == job_id).values(tenant="another"))
        assert get(gateway, job_id).json()["code"] == "job_not_found"
        assert str(job_id) not in gateway.http.get("/v1/jobs?limit=100").text


class TestTheQueue:
    def test_places_urgent_jobs_first_and_then_the_older(self, gateway: RunningGateway, engine: Engine) -> None:
        with transaction(engine) as session:
            for job_id in session.scalars(select(Job.id).where(Job.state == JobState.QUEUED)):
                session.execute(update(Job).where(Job.id == job_id).values(state=JobState.RUNNING))
        places = [
            gateway.http.post(f"/v1/jobs?priority={priority}", content=b"PK\3\4").json() for priority in (5, 5, 8)
        ]
        found = [get(gateway, job["id"]).json()["queue_position"] for job in places]
        assert found == [2, 3, 1]


class TestAListOfJobs:
    def test_is_walked_page_by_page_without_gap_or_repetition(self, gateway: RunningGateway, engine: Engine) -> None:
        made = [str(submit(gateway)) for _ in range(5)]
        with transaction(engine) as session:  # equal times must not confuse the pages
            session.execute(update(Job).where(Job.id.in_(made)).values(created_at=Job.created_at + timedelta(days=1)))
        seen: list[str] = []
        cursor = ""
        while len(seen) < 5:
            page = gateway.http.get(f"/v1/jobs?limit=2{cursor}").json()
            seen += [job["id"] for job in page["items"]]
            cursor = f"&cursor={page['next_cursor']}"
        assert seen[:5] == made[::-1]
        assert len(set(seen)) == len(seen)

    def test_ends_with_no_cursor(self, gateway: RunningGateway) -> None:
        answer = gateway.http.get("/v1/jobs?state=expired").json()
        assert answer == {"items": [], "next_cursor": None}

    def test_is_filtered_by_states(self, gateway: RunningGateway, engine: Engine) -> None:
        waiting, ended = submit(gateway), submit(gateway)
        finish_job(engine, ended)
        page = gateway.http.get("/v1/jobs?state=completed&state=completed_partial&limit=100").json()
        ids = {job["id"] for job in page["items"]}
        assert str(ended) in ids
        assert str(waiting) not in ids

    @pytest.mark.parametrize(
        ("query", "pointer"),
        [
            ("limit=0", "/limit"),
            ("limit=101", "/limit"),
            ("state=done", "/state/0"),
            ("cursor=abc", "/cursor"),
            ("cursor=%00", "/cursor"),
            ("page=2", "/page"),
        ],
    )
    def test_refuses_wrong_questions(self, gateway: RunningGateway, query: str, pointer: str) -> None:
        answer = gateway.http.get(f"/v1/jobs?{query}")
        assert answer.status_code == 422
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]

    def test_has_cursors_that_lead_back_to_their_job(self, gateway: RunningGateway, engine: Engine) -> None:
        with transaction(engine) as session:
            job = session.get_one(Job, submit(gateway))
        position = parse_cursor(make_cursor([JobRecord(job, [], None)]))
        assert (position.created_at, position.job_id) == (job.created_at, job.id)

    def test_has_cursors_whose_time_is_one_that_a_database_reads(self) -> None:
        place = f"2026-03-01T10:00:00+23:59 {uuid.uuid4()}"
        position = parse_cursor(base64.urlsafe_b64encode(place.encode()).decode())
        assert position.created_at.isoformat() == "2026-02-28T10:01:00+00:00"

    def test_has_no_cursors_before_the_first_year(self) -> None:
        place = f"0001-01-01T00:00:00+14:00 {uuid.uuid4()}"
        with pytest.raises(InvalidFields):
            parse_cursor(base64.urlsafe_b64encode(place.encode()).decode())


class TestIntake:
    def test_is_not_told_before_it_has_ended(self, gateway: RunningGateway) -> None:
        answer = get(gateway, submit(gateway), "/intake")
        assert (answer.status_code, answer.json()["code"]) == (409, "intake_not_finished")
        assert int(answer.headers["retry-after"]) >= 1

    def test_lists_files_and_candidates_with_reasons(self, gateway: RunningGateway, engine: Engine) -> None:
        job_id = submit(gateway)
        complete_intake(engine, job_id)
        intake = get(gateway, job_id, "/intake").json()
        assert [(file["name"], file["outcome"], file["code"]) for file in intake["files"]] == [
            ("a/1.dcm", "used", None)
        ]
        assert [(found["rank"], found["is_chosen"], found["reason"]) for found in intake["candidates"]] == [
            (1, True, "The only one.")
        ]
        assert intake["warnings"] == [{"code": "duplicates", "count": 2}]
        assert (intake["state"], intake["problem"]) == ("succeeded", None)

    def test_of_a_refused_study_says_why(self, gateway: RunningGateway, engine: Engine, settings: Settings) -> None:
        job_id = submit(gateway)
        end_intake(engine, settings, job_id, [InputProblem(ProblemCode.WRONG_MODALITY, "Only MR.", found=["MR"])])
        intake = get(gateway, job_id, "/intake").json()
        assert (intake["state"], intake["problem"]["code"], intake["files"]) == ("failed", "wrong_modality", [])


class TestAResult:
    def test_does_not_exist_before_the_job_has_ended(self, gateway: RunningGateway) -> None:
        answer = get(gateway, submit(gateway), "/result")
        assert (answer.status_code, answer.json()["code"]) == (409, "job_not_finished")
        assert int(answer.headers["retry-after"]) >= 1

    def test_is_the_document_as_fusion_wrote_it(self, gateway: RunningGateway, engine: Engine) -> None:
        job_id = submit(gateway)
        document = {"study_uid": "1.2", "findings": [{"name_ru": "Плевральный выпот", "attribution": 0.25}]}
        finish_job(engine, job_id, document)
        answer = get(gateway, job_id, "/result")
        assert (answer.status_code, answer.json()) == (200, document)
        assert get(gateway, job_id, "/result", **{"If-None-Match": answer.headers["etag"]}).status_code == 304

    def test_of_a_rejected_job_is_the_jobs_problem(
        self, gateway: RunningGateway, engine: Engine, settings: Settings
    ) -> None:
        job_id = submit(gateway)
        end_intake(engine, settings, job_id, [InputProblem(ProblemCode.NO_LUNGS_FOUND, "None.", found_ml=3)])
        problem = get(gateway, job_id, "/result").json()
        assert (problem["status"], problem["code"], problem["job_state"]) == (409, "job_has_no_result", "rejected")
        assert (problem["job_problem"]["code"], problem["job_problem"]["found_ml"]) == ("no_lungs_found", 3)


class TestArtifacts:
    def test_are_listed_without_the_upload(self, gateway: RunningGateway, engine: Engine, store: ObjectStore) -> None:
        job_id = submit(gateway)
        masks = add_masks(engine, store, job_id, b"masks")
        items = get(gateway, job_id, "/artifacts").json()["items"]
        assert [(item["name"], item["size_bytes"], item["sha256"], item["href"]) for item in items] == [
            ("masks", 5, masks.sha256, f"/v1/jobs/{job_id}/artifacts/masks")
        ]

    def test_come_whole_with_type_length_and_digest(
        self, gateway: RunningGateway, engine: Engine, store: ObjectStore
    ) -> None:
        job_id = submit(gateway)
        content = bytes(range(256)) * 40_000
        masks = add_masks(engine, store, job_id, content)
        answer = get(gateway, job_id, "/artifacts/masks")
        assert answer.content == content
        assert answer.headers["content-type"] == "application/x-blosc2"
        assert answer.headers["content-length"] == str(len(content))
        assert answer.headers["etag"] == f'"{masks.sha256}"'
        assert get(gateway, job_id, "/artifacts/masks", **{"If-None-Match": answer.headers["etag"]}).status_code == 304

    @pytest.mark.parametrize("name", ["upload", "volume", "nothing"])
    def test_that_are_not_offered_are_not_found(self, gateway: RunningGateway, name: str) -> None:
        answer = get(gateway, submit(gateway), f"/artifacts/{name}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")

    def test_whose_object_is_gone_are_our_bug(
        self, gateway: RunningGateway, engine: Engine, store: ObjectStore
    ) -> None:
        job_id = submit(gateway)
        store.remove(add_masks(engine, store, job_id, b"masks").key)
        answer = get(gateway, job_id, "/artifacts/masks")
        assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
        with transaction(engine) as session:
            session.execute(update(Job).where(Job.id == job_id).values(tenant="reconciled"))

    def test_that_changed_in_storage_break_off(
        self, gateway: RunningGateway, engine: Engine, store: ObjectStore
    ) -> None:
        job_id = submit(gateway)
        masks = add_masks(engine, store, job_id, b"masks")
        with transaction(engine) as session:
            session.merge(masks).sha256 = "0" * 64
        with pytest.raises(httpx.RemoteProtocolError):
            get(gateway, job_id, "/artifacts/masks")

    def test_of_a_caller_that_leaves_hold_no_thread(
        self, gateway: RunningGateway, engine: Engine, store: ObjectStore
    ) -> None:
        job_id = submit(gateway)
        add_masks(engine, store, job_id, bytes(20_000_000))
        for _ in range(20):  # more than there are threads
            with gateway.http.stream("GET", f"/v1/jobs/{job_id}/artifacts/masks") as answer:
                next(answer.iter_bytes())
        assert len(get(gateway, job_id, "/artifacts/masks").content) == 20_000_000
