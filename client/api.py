"""The API over HTTP: submit, follow, fetch. Synchronous; every wait has a limit."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import httpx

from client.documents import Document, Job, Problem, ResultDocument
from client.errors import ApiError, ClientError, JobFailed, Unreachable, WaitExpired

DEFAULT_URL = "http://localhost:8000"

# Reading is the wait for the answer to an upload, which is stored before it is answered.
TIMEOUT = httpx.Timeout(connect=5.0, read=120.0, write=120.0, pool=5.0)
RETRY_LIMIT_S = 60.0
WAIT_LIMIT_S = 3600.0

_POLL_S = 0.5
_RETRY_DELAY_S = 0.5
_LONGEST_RETRY_DELAY_S = 10.0
_IN_FLIGHT = "idempotency_key_in_flight"


class Client:
    """One API. Use as a context manager, or call `close`.

    Where the API asks for patience (503, or a key that is in flight) the request is repeated as `Retry-After` says;
    a gateway that has answered before and is away now is tried again. Both last `retry_limit_s` at most.
    """

    def __init__(
        self, url: str = DEFAULT_URL, *, timeout: httpx.Timeout = TIMEOUT, retry_limit_s: float = RETRY_LIMIT_S
    ) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(base_url=self.url, timeout=timeout, headers={"User-Agent": "ctclip"})
        self._retry_limit_s = retry_limit_s
        self._was_reached = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit(self, study: Path | str, *, idempotency_key: str | None = None, **options: str) -> Job:
        """Stream a ZIP or NIfTI file to the API and return its job.

        The key makes a repeated submission safe: it leads to the same job. Without one, each call makes a new job.
        `options` are those of `POST /v1/jobs`, such as `models`, `series_instance_uid` or `validate_only="true"`.
        """
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        path = Path(study)

        def send() -> httpx.Response:
            with path.open("rb") as body:
                return self._http.post("/v1/jobs", files={"file": (path.name, body)}, params=options, headers=headers)

        return self._parse_job(self._read(send))

    def fetch_job(self, job_id: str) -> Job:
        """Return the job as it stands."""
        return self._parse_job(self._get(f"/v1/jobs/{job_id}"))

    def iterate_updates(self, job_id: str, *, limit_s: float = WAIT_LIMIT_S, poll_s: float = _POLL_S) -> Iterator[Job]:
        """Yield the job now and at every change, last when it has ended. Raises WaitExpired after `limit_s`."""
        deadline = time.monotonic() + limit_s
        seen: Job | None = None
        while True:
            job = self.fetch_job(job_id)
            if job != seen:
                seen = job
                yield job
            if job.has_ended:
                return
            if time.monotonic() + poll_s > deadline:
                raise WaitExpired(job_id, limit_s)
            time.sleep(poll_s)

    def wait(self, job_id: str, *, limit_s: float = WAIT_LIMIT_S, poll_s: float = _POLL_S) -> Job:
        """Return the job once it has a result or, when it only validates, once the study is found acceptable.

        Raises JobFailed when it ends otherwise, WaitExpired when it does not end within `limit_s`.
        """
        *_, job = self.iterate_updates(job_id, limit_s=limit_s, poll_s=poll_s)
        if not job.has_succeeded:
            raise JobFailed(job)
        return job

    def fetch_result(self, job_id: str) -> ResultDocument:
        """Return the result document. Raises ApiError `job_not_finished` or `job_has_no_result`."""
        return cast("ResultDocument", self._get(f"/v1/jobs/{job_id}/result"))

    def fetch_intake(self, job_id: str) -> Document:
        """Return what became of every file of the upload, however many, and the series candidates with reasons."""
        path = f"/v1/jobs/{job_id}/intake"
        document = dict(self._get(path))
        files, cursor = list(document["files"]), document.pop("next_cursor", None)
        while cursor:
            page = self._get(path, cursor=cursor)
            files += page["files"]
            cursor = page["next_cursor"]
        return {**document, "files": files}

    def fetch_advice(self, code: str) -> str | None:
        """Return what the catalogue of problems advises for a code, or None when it does not know it."""
        try:
            return str(self._get(f"/v1/problems/{code}")["advice"])
        except (ApiError, KeyError):
            return None

    def _get(self, path: str, **query: str) -> Document:
        return self._read(lambda: self._http.get(path, params=query))

    def _parse_job(self, document: Document) -> Job:
        try:
            return Job.parse(document)
        except (KeyError, TypeError, ValueError) as error:
            raise Unreachable(f"What answers at {self.url} is not this API: it sent no job.") from error

    def _read(self, send: Callable[[], httpx.Response]) -> Document:
        """Return the JSON object of an answer; every request here may be repeated."""
        deadline = time.monotonic() + self._retry_limit_s
        while True:
            try:
                document = _read_answer(send())
            except httpx.TransportError as error:
                failure = Unreachable(describe_silence(self.url, error))
                if not self._was_reached:
                    raise failure from error
                _sleep_or_raise(_RETRY_DELAY_S, deadline, failure)
            except _TryAgain as answer:
                _sleep_or_raise(answer.after_s, deadline, answer.error)
            else:
                self._was_reached = True
                return document


class _TryAgain(Exception):
    """The API asks for patience."""

    def __init__(self, error: ApiError, after_s: float) -> None:
        super().__init__(str(error))
        self.error = error
        self.after_s = after_s


def _read_answer(answer: httpx.Response) -> Document:
    document = _parse_object(answer)
    if answer.is_success and document is not None:
        return document
    problem = Problem.parse(document or {"title": f"Not an answer of this API (HTTP {answer.status_code})"})
    error = ApiError(answer.status_code, problem)
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE or problem.code == _IN_FLIGHT:
        raise _TryAgain(error, _parse_retry_after(answer))
    raise error


def _parse_object(answer: httpx.Response) -> Document | None:
    try:
        document: Any = answer.json()
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _parse_retry_after(answer: httpx.Response) -> float:
    asked = answer.headers.get("Retry-After", "")
    return min(float(asked), _LONGEST_RETRY_DELAY_S) if asked.isdecimal() else _RETRY_DELAY_S


def _sleep_or_raise(delay_s: float, deadline: float, error: ClientError) -> None:
    if time.monotonic() + delay_s > deadline:
        raise error
    time.sleep(delay_s)


def describe_silence(url: str, error: httpx.TransportError) -> str:
    """Return that nothing answers at an address, and what to do."""
    return f"Nothing answers at {url} ({type(error).__name__}). Is the platform running? `ctclip up` starts one here."
