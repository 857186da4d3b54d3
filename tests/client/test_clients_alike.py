"""What the blocking and the asynchronous client do alike: keys, refusals, patience, events that resume."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import inspect
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from client import ApiError, ArtifactLink, AsyncClient, Client, Damaged, Event, Unreachable
from client.exchange import Gateway, Patience, make_headers
from tests.client.tiny_api import CUT, Answer, TinyApi, job_document, problem, serving

ACCEPTED = Answer(202, job_document("queued"))
NEVER = 1_000_000_000
STREAM = {"Content-Type": "text/event-stream"}

MADE = Answer(201, {"id": "up-1", "part_size_bytes": 100_000, "received_parts": []})
PART = Answer(200, {"number": 1})


def make_events(*events: tuple[int, str, str]) -> Answer:
    lines = [
        f"id: {id_}\nevent: {kind}\ndata: {json.dumps({'job_id': 'job-1', 'stage': None, 'state': state})}\n\n"
        for id_, kind, state in events
    ]
    return Answer(200, ": ping\n\n".join(lines).encode(), STREAM)


def submit(api: TinyApi, study: Path, *, parts_from_bytes: int = NEVER) -> str:
    with Client(api.url, api_key="ck_secret", parts_from_bytes=parts_from_bytes) as client:
        return client.submit(study, {"models": "mednext"}, priority="9").id


def submit_asynchronously(api: TinyApi, study: Path, *, parts_from_bytes: int = NEVER) -> str:
    async def run() -> str:
        async with AsyncClient(api.url, api_key="ck_secret", parts_from_bytes=parts_from_bytes) as client:
            return (await client.submit(study, {"models": "mednext"}, priority="9")).id

    return asyncio.run(run())


def read_events(api: TinyApi) -> list[Event]:
    with Client(api.url, retry_limit_s=2) as client:
        return list(client.iterate_events("job-1"))


def read_states(api: TinyApi) -> list[str]:
    with Client(api.url) as client:
        return [job.state for job in client.iterate_updates("job-1", poll_s=0.01)]


def read_states_asynchronously(api: TinyApi) -> list[str]:
    async def run() -> list[str]:
        async with AsyncClient(api.url) as client:
            return [job.state async for job in client.iterate_updates("job-1", poll_s=0.01)]

    return asyncio.run(run())


def read_events_asynchronously(api: TinyApi) -> list[Event]:
    async def run() -> list[Event]:
        async with AsyncClient(api.url, retry_limit_s=2) as client:
            return [event async for event in client.iterate_events("job-1")]

    return asyncio.run(run())


SUBMIT = pytest.mark.parametrize("send", [submit, submit_asynchronously])
READ = pytest.mark.parametrize("read", [read_events, read_events_asynchronously])


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "study.zip"
    path.write_bytes(bytes(range(256)) * 1000)
    return path


def cut_short(answer: Answer) -> Answer:
    return replace(answer, headers={**answer.headers, "Content-Length": str(len(answer.document) + 1)})


class TestSubmission:
    @SUBMIT
    def test_goes_with_the_key_of_the_caller_and_all_options(
        self, study: Path, send: Callable[[TinyApi, Path], str]
    ) -> None:
        with serving(ACCEPTED) as api:
            assert send(api, study) == "job-1"
        (request,) = api.requests
        assert request.headers["Authorization"] == "Bearer ck_secret"
        assert request.path == "/v1/jobs?models=mednext&priority=9"
        assert study.read_bytes() in request.body

    @SUBMIT
    @pytest.mark.parametrize("status", [429, 502, 503, 504, 507])
    def test_is_repeated_whole_under_its_key(
        self, study: Path, send: Callable[[TinyApi, Path], str], status: int
    ) -> None:
        with serving(problem(status, "busy", Retry_After="0"), ACCEPTED) as api:
            assert send(api, study) == "job-1"
        first, second = api.requests
        assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
        assert study.read_bytes() in second.body

    @SUBMIT
    def test_is_repeated_when_it_came_in_only_in_part(self, study: Path, send: Callable[[TinyApi, Path], str]) -> None:
        with serving(problem(400, "upload_interrupted", Retry_After="0"), ACCEPTED) as api:
            assert send(api, study) == "job-1"
        assert len(api.requests) == 2

    @SUBMIT
    @pytest.mark.parametrize("answers", [(ACCEPTED,), (Answer(200, {"items": []}), MADE, *[PART] * 4, ACCEPTED)])
    def test_goes_under_a_readable_name_whatever_the_file_is_called(
        self, study: Path, send: Callable[..., str], answers: tuple[Answer, ...]
    ) -> None:
        named = study.rename(study.with_name("\udcff.zip"))
        with serving(*answers) as api:
            assert send(api, named, parts_from_bytes=NEVER if len(answers) == 1 else 100_000) == "job-1"
        assert b'"?.zip"' in api.requests[-1].body

    @SUBMIT
    def test_that_is_refused_carries_the_code(self, study: Path, send: Callable[[TinyApi, Path], str]) -> None:
        with serving(problem(415, "not_an_archive")) as api, pytest.raises(ApiError) as raised:
            send(api, study)
        assert (raised.value.status, raised.value.code) == (415, "not_an_archive")


class TestALargeFile:
    @SUBMIT
    def test_repeats_the_part_that_was_cut_and_waits_while_the_parts_are_put_together(
        self, study: Path, send: Callable[..., str]
    ) -> None:
        busy = problem(409, "upload_busy", Retry_After="0")
        answers = (Answer(200, {"items": []}), MADE, PART, CUT, PART, PART, busy, Answer(200, {"id": "up-1"}), ACCEPTED)
        with serving(*answers) as api:
            assert send(api, study, parts_from_bytes=100_000) == "job-1"
        parts = [request for request in api.requests if request.method == "PUT"]
        assert [request.path.rpartition("/")[2] for request in parts] == ["1", "2", "2", "3"]
        assert b"".join(request.body for request in (*parts[:2], parts[3])) == study.read_bytes()
        assert all(
            request.headers["Content-Digest"]
            == f"sha-256=:{base64.b64encode(hashlib.sha256(request.body).digest()).decode()}:"
            for request in parts
        )
        assert json.loads(api.requests[1].body)["sha256"] == hashlib.sha256(study.read_bytes()).hexdigest()
        submission = api.requests[-1]
        assert submission.path == "/v1/jobs?models=mednext&priority=9"
        assert json.loads(submission.body) == {"upload_id": "up-1", "file_name": "study.zip"}

    @SUBMIT
    @pytest.mark.parametrize("refusal", [problem(409, "upload_already_submitted"), problem(404, "upload_not_found")])
    @pytest.mark.parametrize("was_found", [False, True])
    def test_is_sent_once_more_where_another_took_the_upload(
        self, study: Path, send: Callable[..., str], refusal: Answer, was_found: bool
    ) -> None:
        announced = {"size_bytes": 256_000, "announced_sha256": hashlib.sha256(study.read_bytes()).hexdigest()}
        listed = Answer(200, {"items": [{**MADE.document, **announced}] if was_found else []})
        sent = (*[PART] * 3, Answer(200, {"id": "up-1"}))
        begun = () if was_found else (MADE,)
        with serving(listed, *begun, *sent, refusal, MADE, *sent, ACCEPTED) as api:
            assert send(api, study, parts_from_bytes=100_000) == "job-1"
        with serving(listed, *begun, *sent, refusal, MADE, *sent, refusal) as api, pytest.raises(ApiError):
            send(api, study, parts_from_bytes=100_000)


class TestEvents:
    @READ
    def test_go_on_behind_the_last_one_where_a_stream_ended_early(self, read: Callable[[TinyApi], list[Event]]) -> None:
        first = make_events((7, "stage.state", "leased"), (9, "stage.state", "succeeded"))
        with serving(first, problem(503, "busy", Retry_After="0"), make_events((12, "job.state", "completed"))) as api:
            events = read(api)
        assert [event.id for event in events] == [7, 9, 12]
        assert events[-1].ends_job
        assert [request.headers["Last-Event-ID"] for request in api.requests] == ["0", "9", "9"]

    @READ
    @pytest.mark.parametrize(
        "first",
        [
            cut_short(make_events((7, "stage.state", "leased"))),
            cut_short(Answer(200, b": ping\n\n", STREAM)),
            problem(503, "busy", Retry_After="0"),
        ],
    )
    def test_go_on_behind_a_gateway_that_was_away(self, read: Callable[[TinyApi], list[Event]], first: Answer) -> None:
        with serving(first, CUT, make_events((9, "job.state", "completed"))) as api:
            assert read(api)[-1].id == 9
        assert len(api.requests) == 3

    @READ
    def test_are_none_when_all_were_had(self, read: Callable[[TinyApi], list[Event]]) -> None:
        with serving(Answer(204, b"")) as api:
            assert read(api) == []

    @READ
    def test_of_an_unknown_job_are_refused(self, read: Callable[[TinyApi], list[Event]]) -> None:
        with serving(problem(404, "job_not_found")) as api, pytest.raises(ApiError, match="a detail"):
            read(api)

    @READ
    def test_that_are_none_of_this_api_are_told(self, read: Callable[[TinyApi], list[Event]]) -> None:
        with serving(Answer(200, b"data: hello\n\n", STREAM)) as api, pytest.raises(Unreachable, match="not this API"):
            read(api)


class TestUpdates:
    @pytest.mark.parametrize("read", [read_states, read_states_asynchronously])
    def test_are_none_while_only_the_estimate_shrinks(self, read: Callable[[TinyApi], list[str]]) -> None:
        estimates = ({"p50_s": seconds, "p90_s": 9.0} for seconds in (4.0, 3.0, 2.0))
        running = [Answer(200, job_document(eta=estimate)) for estimate in estimates]
        with serving(*running, Answer(200, job_document("completed", eta=None))) as api:
            assert read(api) == ["running", "completed"]


def download(api: TinyApi, artifact: ArtifactLink, path: Path) -> Path:
    with Client(api.url) as client:
        return client.download(artifact, path)


def download_asynchronously(api: TinyApi, artifact: ArtifactLink, path: Path) -> Path:
    async def run() -> Path:
        async with AsyncClient(api.url) as client:
            return await client.download(artifact, path)

    return asyncio.run(run())


@pytest.mark.parametrize("fetch", [download, download_asynchronously])
class TestDownload:
    CONTENT = bytes(range(256)) * 999

    def test_is_repeated_until_it_is_whole(self, tmp_path: Path, fetch: Callable[..., Path]) -> None:
        with serving(problem(503, "busy", Retry_After="0"), Answer(200, self.CONTENT)) as api:
            path = fetch(api, self._link(self.CONTENT), tmp_path / "masks.nii.gz")
        assert path.read_bytes() == self.CONTENT
        assert [request.path for request in api.requests] == ["/v1/jobs/job-1/artifacts/masks"] * 2

    def test_is_repeated_when_it_was_cut_and_the_gateway_was_away(
        self, tmp_path: Path, fetch: Callable[..., Path]
    ) -> None:
        with serving(cut_short(Answer(200, self.CONTENT[:-1])), CUT, Answer(200, self.CONTENT)) as api:
            path = fetch(api, self._link(self.CONTENT), tmp_path / "masks.nii.gz")
        assert path.read_bytes() == self.CONTENT

    def test_leaves_nothing_where_the_digest_is_another(self, tmp_path: Path, fetch: Callable[..., Path]) -> None:
        with serving(Answer(200, self.CONTENT[1:])) as api, pytest.raises(Damaged, match="SHA-256"):
            fetch(api, self._link(self.CONTENT), tmp_path / "masks.nii.gz")
        assert not list(tmp_path.iterdir())

    def _link(self, content: bytes) -> ArtifactLink:
        digest = hashlib.sha256(content).hexdigest()
        return ArtifactLink(
            "masks", "application/gzip", len(content), digest, "http://elsewhere/v1/jobs/job-1/artifacts/masks"
        )


class TestPatience:
    def test_grows_from_try_to_try_and_is_drawn(self) -> None:
        for drawn in (0.0, 1.0):
            patience = Patience(Gateway("http://host"), 600, draw=partial(float, drawn))
            delays = [patience.take_end() for _ in range(8)]
            assert delays == sorted(delays)
            assert delays[0] == pytest.approx(0.4 + 0.1 * drawn)
            assert delays[-1] == pytest.approx(16 + 4 * drawn)

    def test_ends_at_its_limit(self) -> None:
        patience = Patience(Gateway("http://host"), 0.1)
        with pytest.raises(Unreachable):
            patience.take_end()


class TestBothClients:
    def test_have_the_same_methods(self) -> None:
        blocking, asynchronous = (
            {
                name: [parameter.name for parameter in inspect.signature(method).parameters.values()]
                for name, method in inspect.getmembers(kind, inspect.isfunction)
                if not name.startswith("_")
            }
            for kind in (Client, AsyncClient)
        )
        assert blocking == asynchronous

    @pytest.mark.parametrize("key", ["", "two words", "line\r\nX-Injected: 1", "ключ"])
    def test_refuse_what_cannot_be_a_key(self, key: str) -> None:
        with pytest.raises(ValueError, match="printable ASCII"):
            make_headers(key)
