"""Studies of one patient are found by a pseudonym, by their tenant alone."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import Engine, update

from shared.database import transaction
from shared.problems import Problem, ProblemCode
from shared.pseudonyms import Pseudonyms
from shared.stages import StageName
from shared.tables import Job
from tests.gateway.conftest import RunningGateway
from tests.gateway.pipeline import complete, lease_stage
from workers.runtime.completion import reject_study
from workers.runtime.stage import StageOutput


@pytest.fixture
def patient() -> str:
    return Pseudonyms(b"k" * 32).make("default", uuid.uuid4().hex * 2)


def submit_for(gateway: RunningGateway, engine: Engine, patient: str | None) -> uuid.UUID:
    job_id = uuid.UUID(gateway.submit()["id"])
    complete(engine, job_id, StageName.INTAKE, StageOutput(patient_pseudonym=patient))
    return job_id


def find(gateway: RunningGateway, patient: str) -> set[uuid.UUID]:
    jobs = gateway.http.get("/v1/jobs", params={"patient": patient}).json()["items"]
    return {uuid.UUID(job["id"]) for job in jobs}


class TestPseudonym:
    def test_stands_in_the_job_and_in_what_intake_found(
        self, gateway: RunningGateway, engine: Engine, patient: str
    ) -> None:
        job_id = submit_for(gateway, engine, patient)
        assert gateway.http.get(f"/v1/jobs/{job_id}").json()["patient"] == patient
        assert gateway.http.get(f"/v1/jobs/{job_id}/intake").json()["patient"] == patient

    def test_is_null_where_the_study_names_no_patient(self, gateway: RunningGateway, engine: Engine) -> None:
        job_id = submit_for(gateway, engine, None)
        assert gateway.http.get(f"/v1/jobs/{job_id}").json()["patient"] is None

    def test_is_known_of_a_refused_study_too(self, gateway: RunningGateway, engine: Engine, patient: str) -> None:
        job_id = uuid.UUID(gateway.submit()["id"])
        lease = lease_stage(engine, job_id, StageName.INTAKE)
        with transaction(engine) as session:
            output = StageOutput(patient_pseudonym=patient)
            reject_study(session, lease, Problem(ProblemCode.NO_LUNGS_FOUND, "No lungs."), output)
        assert find(gateway, patient) == {job_id}


class TestSearch:
    def test_finds_all_jobs_of_the_patient_and_no_others(
        self, gateway: RunningGateway, engine: Engine, patient: str
    ) -> None:
        jobs = {submit_for(gateway, engine, patient) for _ in range(2)}
        submit_for(gateway, engine, Pseudonyms(b"k" * 32).make("default", "0" * 64))
        assert find(gateway, patient) == jobs

    def test_finds_nothing_of_another_tenant(self, gateway: RunningGateway, engine: Engine, patient: str) -> None:
        job_id = submit_for(gateway, engine, patient)
        with transaction(engine) as session:
            session.execute(update(Job).where(Job.id == job_id).values(tenant="another"))
        assert find(gateway, patient) == set()

    @pytest.mark.parametrize("wrong", ["", "MRN 4711", "p1_aaaa_" + "A" * 26, "a" * 300])
    def test_takes_pseudonyms_only_and_repeats_nothing_else(self, gateway: RunningGateway, wrong: str) -> None:
        refused = gateway.http.get("/v1/jobs", params={"patient": wrong})
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/patient")
        assert not wrong or wrong not in refused.text
