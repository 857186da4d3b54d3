"""The predecessor's contract, spoken by a script that knows nothing but http.client and the seven fields."""

from __future__ import annotations

import http.client
import json
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, update

from gateway.compatible.service import choose_status
from shared.database import transaction
from shared.errors import Defect, InputProblem, Unanswerable
from shared.problems import CATALOGUE, Problem, ProblemCode
from shared.settings import Settings
from shared.stages import StageName
from shared.states import JobState
from shared.tables import Job
from tests.gateway.conftest import NOTHING, ZIP, RunningGateway, running_gateway
from tests.gateway.pipeline import SEVEN_FIELDS, complete_intake, end_intake, fetch_newest_job, finish_job
from tests.gateway.test_submission import make_nifti
from tests.stack.running import wait_until

FAILURE = {
    "study_uid": "",
    "series_uid": "",
    "probability_of_pathology": None,
    "pathology": None,
    "most_dangerous_pathology_type": None,
    "processing_status": "Failure",
}
Answer = tuple[int, dict[str, Any]]


def post(port: int, path: str, name: str, content: bytes) -> Answer:
    """Post a file as the old batch client does."""
    head = f'--cut\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        body = head + content + b"\r\n--cut--\r\n"
        connection.request("POST", path, body, {"Content-Type": "multipart/form-data; boundary=cut"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.fixture(autouse=True)
def no_open_jobs(engine: Engine) -> None:
    """End the jobs of other tests, so that the newest open one is ours."""
    with transaction(engine) as session:
        session.execute(
            update(Job).where(Job.finished_at.is_(None)).values(state=JobState.CANCELLED, finished_at=Job.created_at)
        )


def predict_while(
    gateway: RunningGateway,
    engine: Engine,
    work: Callable[[uuid.UUID], None],
    *,
    path: str = "/predict",
    name: str = "study.zip",
    content: bytes = ZIP,
) -> Answer:
    """Post a study and let `work` play the workers."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post, gateway.port, path, name, content)
        wait_until(lambda: fetch_newest_job(engine), "the job is made")
        job_id = fetch_newest_job(engine)
        assert job_id is not None
        work(job_id)
        return answer.result(60)


class TestPrediction:
    def test_answers_with_exactly_seven_fields(self, gateway: RunningGateway, engine: Engine) -> None:
        answer = predict_while(gateway, engine, lambda job_id: finish_job(engine, job_id))
        assert answer == (200, SEVEN_FIELDS)

    def test_says_so_when_nothing_was_found(self, gateway: RunningGateway, engine: Engine) -> None:
        healthy = {
            **SEVEN_FIELDS,
            "probability_of_pathology": 0.2,
            "pathology": 0,
            "most_dangerous_pathology_type": "No specific pathology detected",
        }
        document = {**healthy, "findings": [], "schema_version": "1", "weights_profile": "demo"}
        answer = predict_while(gateway, engine, lambda job_id: finish_job(engine, job_id, document))
        assert answer == (200, healthy)

    def test_names_its_weights_and_its_result_in_headers(self, gateway: RunningGateway, engine: Engine) -> None:
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(gateway.http.post, "/predict", files={"file": ("study.zip", ZIP)})
            wait_until(lambda: fetch_newest_job(engine), "the job is made")
            job_id = fetch_newest_job(engine)
            assert job_id is not None
            finish_job(engine, job_id)
            answer = asked.result(60)
        assert answer.json() == SEVEN_FIELDS
        assert answer.headers["x-weights-profile"] == "demo"
        assert answer.headers["link"] == f'</v1/jobs/{job_id}/result>; rel="describedby"'
        assert gateway.http.get(answer.links["describedby"]["url"]).json()["job_id"] == str(job_id)

    def test_of_a_nifti_hands_on_the_name_without_its_extension(self, gateway: RunningGateway, engine: Engine) -> None:
        names = []

        def note_name(job_id: uuid.UUID) -> None:
            with transaction(engine) as session:
                names.append(session.get_one(Job, job_id).options["upload_name"])
            finish_job(engine, job_id)

        status, _ = predict_while(
            gateway, engine, note_name, path="/predict_nifti", name="C:\\scans\\case 7.nii.gz", content=make_nifti()
        )
        assert (status, names) == (200, ["case 7"])

    def test_leaves_the_gateway_answering_meanwhile(self, gateway: RunningGateway, engine: Engine) -> None:
        def ask(job_id: uuid.UUID) -> None:
            started = time.monotonic()
            assert gateway.http.get("/health").json() == {"status": "healthy"}
            assert time.monotonic() - started < 1
            finish_job(engine, job_id)

        assert predict_while(gateway, engine, ask)[0] == 200


class TestFailure:
    def check(self, answer: Answer, status: int, word: str) -> None:
        assert answer[0] == status
        body = dict(answer[1])
        seconds, error = body.pop("time_of_processing"), body.pop("error")
        assert body == FAILURE
        assert isinstance(seconds, float)
        assert seconds >= 0
        assert word in error

    @pytest.mark.parametrize(
        ("path", "name"),
        [("/predict", "study.ZIP"), ("/predict", "study.nii"), ("/predict_nifti", "s.zip"), ("/predict", "")],
    )
    def test_of_a_wrong_extension_is_told_as_fastapi_does(
        self, gateway: RunningGateway, leftovers: Callable[[], tuple[set[str], int]], path: str, name: str
    ) -> None:
        status, body = post(gateway.port, path, name, ZIP)
        assert (status, list(body)) == (400, ["detail"])
        assert leftovers() == NOTHING

    def test_of_the_study_is_422(self, gateway: RunningGateway, engine: Engine, settings: Settings) -> None:
        problem = InputProblem(ProblemCode.NO_LUNGS_FOUND, "The air in the body is 12 ml; 500 ml are needed.")
        answer = predict_while(gateway, engine, lambda job_id: end_intake(engine, settings, job_id, [problem]))
        self.check(answer, 422, "no_lungs_found")

    def test_of_ours_is_500(self, gateway: RunningGateway, engine: Engine, settings: Settings) -> None:
        defects = [Defect("broken"), Defect("broken")]
        answer = predict_while(gateway, engine, lambda job_id: end_intake(engine, settings, job_id, defects))
        self.check(answer, 500, "internal_error")

    def test_of_too_few_models_is_503(self, gateway: RunningGateway, engine: Engine, settings: Settings) -> None:
        problem = Unanswerable(ProblemCode.NO_MODEL_ANSWERED, "None.")
        answer = predict_while(gateway, engine, lambda job_id: end_intake(engine, settings, job_id, [problem]))
        self.check(answer, 503, "no_model_answered")

    @pytest.mark.parametrize(("content", "word"), [(b"no zip", "not_an_archive"), (b"", "empty_upload")])
    def test_of_the_upload_is_422(self, gateway: RunningGateway, content: bytes, word: str) -> None:
        self.check(post(gateway.port, "/predict", "study.zip", content), 422, word)

    def test_to_end_in_time_is_503_and_the_job_goes_on(
        self, settings: Settings, engine: Engine, gateway: RunningGateway
    ) -> None:
        hasty = settings.model_copy(update={"compatible_wait_limit": timedelta(seconds=0.3)})
        with running_gateway(hasty) as other:
            answer = post(other.port, "/predict", "study.zip", ZIP)
        job_id = fetch_newest_job(engine)
        assert job_id is not None
        self.check(answer, 503, str(job_id))
        finish_job(engine, job_id)
        assert gateway.http.get(f"/v1/jobs/{job_id}/result").status_code == 200

    def test_of_a_caller_that_left_does_not_stop_the_job(self, gateway: RunningGateway, engine: Engine) -> None:
        body = (
            b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n' + ZIP + b"\r\n--cut--\r\n"
        )
        head = (
            "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=cut\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        with gateway.connect() as connection:
            connection.sendall(head.encode() + body)
            wait_until(lambda: fetch_newest_job(engine), "the job is made")
        job_id = fetch_newest_job(engine)
        assert job_id is not None
        complete_intake(engine, job_id)
        assert gateway.http.get(f"/v1/jobs/{job_id}").json()["state"] == "running"

    @pytest.mark.parametrize("code", [code for code in ProblemCode if CATALOGUE[code].status == 422])
    def test_of_any_problem_of_a_study_is_422(self, code: ProblemCode) -> None:
        assert choose_status(Problem(code, "").to_document()) == 422

    @pytest.mark.parametrize("code", [ProblemCode.TENANT_QUEUE_FULL, ProblemCode.IDEMPOTENCY_KEY_IN_FLIGHT])
    def test_of_what_may_be_sent_again_is_503(self, code: ProblemCode) -> None:
        assert choose_status(Problem(code, "").to_document()) == 503

    def test_for_want_of_room_says_when_to_come_back(self, gateway: RunningGateway, settings: Settings) -> None:
        gateway.submit()
        with running_gateway(settings.model_copy(update={"tenant_queue_limit": 1})) as full:
            answer = full.http.post("/predict", files={"file": ("study.zip", ZIP)})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")

    @pytest.mark.parametrize("code", list(ProblemCode))
    def test_has_only_statuses_that_callers_know(self, code: ProblemCode) -> None:
        assert choose_status(Problem(code, "").to_document()) in {413, 422, 500, 503}


class TestStages:
    def test_of_a_prediction_are_those_of_any_job(self, gateway: RunningGateway, engine: Engine) -> None:
        seen: list[str] = []

        def note_stages(job_id: uuid.UUID) -> None:
            seen.extend(stage["name"] for stage in gateway.http.get(f"/v1/jobs/{job_id}").json()["stages"])
            finish_job(engine, job_id)

        predict_while(gateway, engine, note_stages)
        assert seen == list(StageName)
