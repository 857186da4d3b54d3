"""What intake found, as callers are told it: in pages, and of refused studies and validations as well."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import Engine, insert

from gateway.jobs.api import MOST_FILES_A_PAGE
from gateway.jobs.intake_repository import MOST_CANDIDATES_TOLD
from gateway.jobs.paging import make_file_cursor, parse_file_cursor
from shared.database import transaction
from shared.problems import Problem, ProblemCode
from shared.stages import StageName
from shared.tables import SeriesCandidate, UploadFile
from tests.gateway.conftest import NOTHING, ZIP, RunningGateway
from tests.gateway.pipeline import complete, lease_stage
from tests.gateway.test_submission import Leftovers
from workers.runtime.outcomes import end_rejected
from workers.runtime.stage import StageOutput, StageWarning

HU = {"min": -1024, "max": 1800, "mean": -412.5, "padding_voxels": 12}
CHOSEN: dict[str, Any] = {
    "study_uid": "1.2.3",
    "series_uid": "1.2.3.4",
    "shape_zyx": [120, 512, 512],
    "spacing_zyx_mm": [2.5, 0.75, 0.75],
    "origin_lps_mm": [-190.5, -180.0, -300.0],
    "row_direction": [1.0, 0.0, 0.0],
    "column_direction": [0.0, 1.0, 0.0],
    "facts": {"kernel": ["B70f"]},
}
FACTS: dict[str, Any] = {
    "study_uid": "1.2.3",
    "chosen": CHOSEN,
    "hu": HU,
    "choice_policy": "chest-1",
    "timings": {"look": 0.5},
}
FOUND = StageOutput(facts=FACTS, warnings=[StageWarning("tilt_corrected", {"degrees": 4.5})])


def submit(gateway: RunningGateway, query: str = "") -> uuid.UUID:
    answer = gateway.http.post(f"/v1/jobs{query}", files={"file": ("study.zip", ZIP)})
    assert answer.status_code == 202, answer.text
    return uuid.UUID(answer.json()["id"])


def read(gateway: RunningGateway, job_id: uuid.UUID, query: str = "") -> dict[str, Any]:
    answer = gateway.http.get(f"/v1/jobs/{job_id}/intake{query}")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def add_files(engine: Engine, job_id: uuid.UUID, count: int) -> None:
    """Add files of which every fifth was ignored."""
    fates: dict[bool, dict[str, Any]] = {
        True: {"outcome": "ignored", "code": "not_dicom"},
        False: {"outcome": "used", "code": None},
    }
    rows = [
        {"job_id": job_id, "ordinal": number, "name": f"a/{number}.dcm", "size_bytes": 7, **fates[number % 5 == 0]}
        for number in range(count)
    ]
    with transaction(engine) as session:
        session.execute(insert(UploadFile), rows)


class TestWhatWasFound:
    def test_tells_choice_geometry_and_hu_of_every_job(self, gateway: RunningGateway, engine: Engine) -> None:
        job_id = submit(gateway)
        complete(engine, job_id, StageName.INTAKE, FOUND)
        intake = read(gateway, job_id)
        assert {**intake["chosen"]} == CHOSEN
        assert {name: intake["hu"][name] for name in HU} == HU
        assert intake["choice_policy"] == "chest-1"
        assert intake["warnings"] == [{"code": "tilt_corrected", "degrees": 4.5}]
        assert intake["facts"] == {"study_uid": "1.2.3", "timings": {"look": 0.5}}

    def test_tells_as_much_of_a_refused_study_as_is_known(self, gateway: RunningGateway, engine: Engine) -> None:
        job_id = submit(gateway)
        rows = [UploadFile(ordinal=0, name="a.dcm", size_bytes=7, outcome="rejected", code="crc_mismatch")]
        output = StageOutput(rows=rows, facts={"choice_policy": "chest-1"}, warnings=FOUND.warnings)
        problem = Problem(ProblemCode.SERIES_INCOMPLETE, "1 file: crc.")
        end_rejected(engine, lease_stage(engine, job_id, StageName.INTAKE), problem, output)
        intake = read(gateway, job_id)
        assert (intake["state"], intake["problem"]["code"]) == ("failed", "series_incomplete")
        assert [(file["name"], file["outcome"], file["code"]) for file in intake["files"]] == [
            ("a.dcm", "rejected", "crc_mismatch")
        ]
        assert (intake["chosen"], intake["hu"], intake["choice_policy"]) == (None, None, "chest-1")
        assert intake["warnings"] == [{"code": "tilt_corrected", "degrees": 4.5}]


@pytest.fixture(scope="module")
def job_id(gateway: RunningGateway, engine: Engine) -> uuid.UUID:
    """A job whose upload held as many files as an archive may have."""
    job_id = submit(gateway)
    complete(engine, job_id, StageName.INTAKE, FOUND)
    add_files(engine, job_id, 50_000)
    return job_id


class TestAListOfFiles:
    def test_of_a_large_archive_is_bounded_and_counted_whole(self, gateway: RunningGateway, job_id: uuid.UUID) -> None:
        answer = gateway.http.get(f"/v1/jobs/{job_id}/intake")
        assert len(answer.content) < 500_000
        intake = answer.json()
        assert [file["ordinal"] for file in intake["files"]] == list(range(1000))
        assert intake["file_counts"] == [
            {"outcome": "used", "code": None, "files": 40_000},
            {"outcome": "ignored", "code": "not_dicom", "files": 10_000},
        ]

    def test_is_walked_to_its_end_without_gap_or_repetition(self, gateway: RunningGateway, job_id: uuid.UUID) -> None:
        seen: list[int] = []
        query = f"?limit={MOST_FILES_A_PAGE}"
        while query:
            page = read(gateway, job_id, query)
            seen += [file["ordinal"] for file in page["files"]]
            cursor = page["next_cursor"]
            query = f"?limit={MOST_FILES_A_PAGE}&cursor={cursor}" if cursor else ""
        assert seen == list(range(50_000))

    def test_is_filtered_by_outcomes_in_pages_too(self, gateway: RunningGateway, job_id: uuid.UUID) -> None:
        page = read(gateway, job_id, "?outcome=ignored&outcome=rejected&limit=2")
        assert [file["ordinal"] for file in page["files"]] == [0, 5]
        page = read(gateway, job_id, f"?outcome=ignored&outcome=rejected&limit=2&cursor={page['next_cursor']}")
        assert [file["ordinal"] for file in page["files"]] == [10, 15]
        nothing = read(gateway, job_id, "?outcome=rejected")
        assert (nothing["files"], nothing["next_cursor"]) == ([], None)

    @pytest.mark.parametrize(
        ("query", "pointer"),
        [
            ("limit=0", "/limit"),
            ("limit=10001", "/limit"),
            ("outcome=lost", "/outcome/0"),
            ("cursor=abc", "/cursor"),
            ("cursor=LTE", "/cursor"),
            (f"cursor={make_file_cursor(2**40)}", "/cursor"),
            ("page=2", "/page"),
        ],
    )
    def test_refuses_wrong_questions(
        self, gateway: RunningGateway, job_id: uuid.UUID, query: str, pointer: str
    ) -> None:
        answer = gateway.http.get(f"/v1/jobs/{job_id}/intake?{query}")
        assert answer.status_code == 422
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]

    def test_has_cursors_that_lead_back_to_their_file(self) -> None:
        assert [parse_file_cursor(make_file_cursor(ordinal)) for ordinal in (0, 7, 49_999)] == [0, 7, 49_999]


class TestAListOfCandidates:
    def test_is_cut_but_counted_and_holds_the_chosen_one(self, gateway: RunningGateway, engine: Engine) -> None:
        job_id = submit(gateway)
        complete(engine, job_id, StageName.INTAKE, FOUND)
        count = MOST_CANDIDATES_TOLD + 50
        rows = [
            {
                "job_id": job_id,
                "rank": rank,
                "is_chosen": rank == count,
                "series_instance_uid": f"1.2.{rank}",
                "score": 1 / rank,
                "criteria": {},
                "facts": {},
                "reason": "told",
            }
            for rank in range(1, count + 1)
        ]
        with transaction(engine) as session:
            session.execute(insert(SeriesCandidate), rows)
        intake = read(gateway, job_id)
        assert intake["candidates_found"] == count
        ranks = [candidate["rank"] for candidate in intake["candidates"]]
        assert ranks == [*range(1, MOST_CANDIDATES_TOLD), count]
        assert intake["candidates"][-1]["is_chosen"]


class TestAValidation:
    @pytest.mark.parametrize("query", ["?validate_only=true", "?validate_only=1"])
    def test_is_planned_without_models(self, gateway: RunningGateway, query: str) -> None:
        answer = gateway.http.post(f"/v1/jobs{query}", content=ZIP)
        reasons = {stage["name"]: stage["reason"] for stage in answer.json()["stages"]}
        assert reasons.pop("intake") is None
        assert reasons.pop("delivery") == "no_callback"
        assert set(reasons.values()) == {"validate_only"}

    def test_may_be_asked_for_by_a_field_of_the_form(self, gateway: RunningGateway) -> None:
        parts: list[tuple[str, Any]] = [("validate_only", (None, "true")), ("file", ("study.zip", ZIP))]
        job = gateway.http.post("/v1/jobs", files=parts).json()
        assert {stage["reason"] for stage in job["stages"]} == {None, "validate_only", "no_callback"}

    def test_of_an_acceptable_study_completes_without_a_result(self, gateway: RunningGateway, engine: Engine) -> None:
        job_id = submit(gateway, "?validate_only=true")
        complete(engine, job_id, StageName.INTAKE, FOUND)
        job = gateway.http.get(f"/v1/jobs/{job_id}").json()
        assert (job["state"], job["progress"], job["problem"]) == ("completed", 1, None)
        assert (job["links"]["result"], job["links"]["intake"]) == (None, f"/v1/jobs/{job_id}/intake")
        answer = gateway.http.get(f"/v1/jobs/{job_id}/result")
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (409, "job_has_no_result")
        assert "validate_only" in problem["detail"]
        assert (problem["job_state"], problem["job_problem"]) == ("completed", None)
        assert read(gateway, job_id)["chosen"]["shape_zyx"] == [120, 512, 512]

    def test_of_a_bad_study_is_rejected_with_its_code(self, gateway: RunningGateway, engine: Engine) -> None:
        job_id = submit(gateway, "?validate_only=true")
        problem = Problem(ProblemCode.NO_LUNGS_FOUND, "None.")
        end_rejected(engine, lease_stage(engine, job_id, StageName.INTAKE), problem, FOUND)
        job = gateway.http.get(f"/v1/jobs/{job_id}").json()
        assert (job["state"], job["problem"]["code"]) == ("rejected", "no_lungs_found")
        assert read(gateway, job_id)["hu"]["min"] == -1024

    @pytest.mark.parametrize("option", ["validate_only", "split"])
    @pytest.mark.parametrize("is_field", [True, False], ids=["field", "query"])
    def test_and_split_cannot_be_asked_of_who_waits_for_a_prediction(
        self, gateway: RunningGateway, leftovers: Leftovers, option: str, is_field: bool
    ) -> None:
        parts: list[tuple[str, Any]] = [("file", ("study.zip", ZIP))]
        parts += [(option, (None, "true"))] if is_field else []
        answer = gateway.http.post("/predict" if is_field else f"/predict?{option}=true", files=parts)
        assert (answer.status_code, answer.json()["error"][:18]) == (422, "validation_failed:")
        assert f"/{option}: " in answer.json()["error"]
        assert leftovers() == NOTHING


class TestASplitUpload:
    def test_leads_from_its_problem_to_the_jobs_of_its_studies(self, gateway: RunningGateway, engine: Engine) -> None:
        job_id = submit(gateway, "?split=true&priority=8")
        problem = Problem(ProblemCode.MIXED_STUDIES, "The archive holds 2 studies of 1 patient.")
        output = StageOutput(rejection=problem, split_into=("1.2.3", "1.2.4"))
        end_rejected(engine, lease_stage(engine, job_id, StageName.INTAKE), problem, output)
        job = gateway.http.get(f"/v1/jobs/{job_id}").json()
        assert (job["state"], job["problem"]["code"]) == ("rejected", "mixed_studies")
        assert [entry["study_instance_uid"] for entry in job["problem"]["jobs"]] == ["1.2.3", "1.2.4"]
        for entry in job["problem"]["jobs"]:
            part = gateway.http.get(f"/v1/jobs/{entry['id']}").json()
            assert (part["state"], part["priority"]) == ("queued", 8)
            assert {stage["name"]: stage["state"] for stage in part["stages"]}["mednext"] == "waiting"
