"""The API over HTTP: submit, follow, fetch. Blocking; every wait has a limit. `client.asynchronous` is its twin."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from httpx_sse import connect_sse

from client.documents import Document, Erasure, Event, Job
from client.downloading import receiving
from client.errors import ApiError, JobFailed, WaitExpired
from client.exchange import (
    DEFAULT_URL,
    POLL_S,
    RETRY_LIMIT_S,
    TIMEOUT,
    WAIT_LIMIT_S,
    Call,
    Gateway,
    OnProgress,
    Patience,
    keep_path,
    make_headers,
    make_job_path,
    parse_job,
    parse_result,
)
from client.parts import PARTS_FROM_BYTES, Steps, advance, submit_study
from client.results import ArtifactLink, StudyResult
from client.streaming import EventStream, has_data


class Client:
    """One API. Use as a context manager, or call `close`. `api_key` goes with every request as a bearer token.

    Where the API asks for patience (429, 503, a key that is in flight) the request is repeated as `Retry-After` says;
    a gateway that has answered before and is away now is tried again, at longer and longer intervals. Both last
    `retry_limit_s` at most.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        timeout: httpx.Timeout = TIMEOUT,
        retry_limit_s: float = RETRY_LIMIT_S,
        parts_from_bytes: int = PARTS_FROM_BYTES,
    ) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(base_url=self.url, timeout=timeout, headers=make_headers(api_key))
        self._retry_limit_s = retry_limit_s
        self._parts_from_bytes = parts_from_bytes
        self._gateway = Gateway(self.url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit(
        self,
        study: Path | str,
        options: Mapping[str, str] | None = None,
        *,
        idempotency_key: str | None = None,
        on_progress: OnProgress | None = None,
        **more: str,
    ) -> Job:
        """Send a ZIP or NIfTI file to the API and return its job.

        A file of `parts_from_bytes` or more goes in parts, each with its digest: a cut costs one of them, and a program
        that was killed goes on where it was, given the same file again.

        The key makes a repeated submission safe: it leads to the same job. Without one, each call makes a new job.
        `options`, and `more` of them by name, are those of `POST /v1/jobs`, such as `models="mednext"`,
        `series_instance_uid` or `validate_only="true"`.
        """
        asked, key = {**(options or {}), **more}, idempotency_key or str(uuid.uuid4())
        steps = submit_study(Path(study), asked, key, on_progress, self._parts_from_bytes)
        return parse_job(self._walk(steps), self.url)

    def fetch_job(self, job_id: str) -> Job:
        """Return the job as it stands."""
        return parse_job(self._get(make_job_path(job_id)), self.url)

    def cancel(self, job_id: str) -> Job:
        """End a job that has not ended and return it. Raises ApiError `job_already_finished` after another end."""
        return parse_job(self._read(Call("POST", make_job_path(job_id, "cancel"))), self.url)

    def retry(self, job_id: str) -> Job:
        """Run a failed job again under its id; stages that had finished are kept. Raises ApiError for any other job."""
        return parse_job(self._read(Call("POST", make_job_path(job_id, "retry"))), self.url)

    def erase(self, job_id: str) -> Erasure:
        """Remove the study and everything made of it; the certificate says how much that was."""
        return Erasure.parse(self._read(Call("DELETE", make_job_path(job_id))))

    def iterate_jobs(self, **filters: str) -> Iterator[Job]:
        """Yield one's jobs, newest first; `filters` are those of `GET /v1/jobs`, such as `state="failed"`."""
        cursor: str | None = ""
        while cursor is not None:
            page = self._get("/v1/jobs", **filters, **({"cursor": cursor} if cursor else {}))
            yield from (parse_job(document, self.url) for document in page["items"])
            cursor = page["next_cursor"]

    def iterate_updates(self, job_id: str, *, limit_s: float = WAIT_LIMIT_S, poll_s: float = POLL_S) -> Iterator[Job]:
        """Yield the job now and at every change, last when it has ended. Raises WaitExpired after `limit_s`."""
        deadline = time.monotonic() + limit_s
        seen: Job | None = None
        while True:
            job = self.fetch_job(job_id)
            if job.has_changed_since(seen):
                seen = job
                yield job
            if job.has_ended:
                return
            if time.monotonic() + poll_s > deadline:
                raise WaitExpired(job_id, limit_s)
            time.sleep(poll_s)

    def iterate_events(self, job_id: str, *, after: int = 0) -> Iterator[Event]:
        """Yield what happens to a job behind event `after`, as it happens, until the job has ended.

        A broken stream is resumed where it was; nothing comes twice and nothing is left out.
        """
        stream = EventStream(job_id, after, self._make_patience())
        while not stream.has_ended:
            try:
                with connect_sse(self._http, **stream.arguments) as source:
                    self._gateway.was_reached = True
                    if source.response.is_error:
                        source.response.read()
                    if stream.begin(source.response):
                        yield from map(stream.take, filter(has_data, source.iter_sse()))
            except httpx.TransportError as error:
                stream.break_off(error)
            time.sleep(stream.take_pause())

    def wait(self, job_id: str, *, limit_s: float = WAIT_LIMIT_S, poll_s: float = POLL_S) -> Job:
        """Return the job once it has a result or, when it only validates, once the study is found acceptable.

        Raises JobFailed when it ends otherwise, WaitExpired when it does not end within `limit_s`.
        """
        *_, job = self.iterate_updates(job_id, limit_s=limit_s, poll_s=poll_s)
        if not job.has_succeeded:
            raise JobFailed(job)
        return job

    def fetch_result(self, job_id: str) -> StudyResult:
        """Return the result of a study. Raises ApiError `job_not_finished` or `job_has_no_result`."""
        return parse_result(self._get(make_job_path(job_id, "result")), self.url)

    def fetch_intake(self, job_id: str) -> Document:
        """Return what became of every file of the upload, however many, and the series candidates with reasons."""
        path = make_job_path(job_id, "intake")
        document = dict(self._get(path))
        files, cursor = list(document["files"]), document.pop("next_cursor", None)
        while cursor:
            page = self._get(path, cursor=cursor)
            files += page["files"]
            cursor = page["next_cursor"]
        return {**document, "files": files}

    def fetch_artifacts(self, job_id: str) -> list[ArtifactLink]:
        """Return what else can be fetched of a job: volume, masks, maps, pictures, tables."""
        return [ArtifactLink.parse(one) for one in self._get(make_job_path(job_id, "artifacts"))["items"]]

    def download(self, artifact: ArtifactLink, path: Path | str) -> Path:
        """Fetch an artefact into a file, which is whole or not there, and return it. Raises Damaged."""
        patience = self._make_patience()
        while True:
            try:
                with self._http.stream("GET", keep_path(artifact.href)) as answer:
                    self._gateway.was_reached = True
                    if answer.is_success:
                        with receiving(artifact, Path(path)) as write:
                            for chunk in answer.iter_bytes():
                                write(chunk)
                        return Path(path)
                    answer.read()
                    delay_s = patience.take_refusal(answer)
            except httpx.TransportError as error:
                delay_s = patience.take_silence(error)
            time.sleep(delay_s)

    def fetch_advice(self, code: str) -> str | None:
        """Return what the catalogue of problems advises for a code, or None when it does not know it."""
        try:
            return str(self._get(f"/v1/problems/{code}")["advice"])
        except (ApiError, KeyError):
            return None

    def _get(self, path: str, **query: str) -> Document:
        return self._read(Call("GET", path, query=query))

    def _make_patience(self, takes_s: float | None = None) -> Patience:
        return Patience(self._gateway, max(self._retry_limit_s, takes_s or 0))

    def _read(self, call: Call) -> Document:
        """Return the JSON object of an answer."""
        patience = self._make_patience(call.takes_s)
        while True:
            try:
                with call.opened() as arguments:
                    outcome = patience.read(self._http.request(**arguments))
            except httpx.TransportError as error:
                outcome = patience.take_silence(error)
            if not isinstance(outcome, float):
                return outcome
            time.sleep(outcome)

    def _walk(self, steps: Steps) -> Document:
        """Make one request after the other and return the last answer."""
        call = advance(steps, None)
        while isinstance(call, Call):
            try:
                answer: Document | ApiError = self._read(call)
            except ApiError as error:
                answer = error
            else:
                call.confirm()
            call = advance(steps, answer)
        return call
