"""`client.api` for programs that run an event loop: the same methods, awaited; the same words hold."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from httpx_sse import aconnect_sse

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


class AsyncClient:
    """One API. Use as an asynchronous context manager, or await `close`. What `Client` promises holds here too."""

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
        self._http = httpx.AsyncClient(base_url=self.url, timeout=timeout, headers=make_headers(api_key))
        self._retry_limit_s = retry_limit_s
        self._parts_from_bytes = parts_from_bytes
        self._gateway = Gateway(self.url)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def submit(
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
        return parse_job(await self._walk(steps), self.url)

    async def fetch_job(self, job_id: str) -> Job:
        """Return the job as it stands."""
        return parse_job(await self._get(make_job_path(job_id)), self.url)

    async def cancel(self, job_id: str) -> Job:
        """End a job that has not ended and return it. Raises ApiError `job_already_finished` after another end."""
        return parse_job(await self._read(Call("POST", make_job_path(job_id, "cancel"))), self.url)

    async def retry(self, job_id: str) -> Job:
        """Run a failed job again under its id; stages that had finished are kept. Raises ApiError for any other job."""
        return parse_job(await self._read(Call("POST", make_job_path(job_id, "retry"))), self.url)

    async def erase(self, job_id: str) -> Erasure:
        """Remove the study and everything made of it; the certificate says how much that was."""
        return Erasure.parse(await self._read(Call("DELETE", make_job_path(job_id))))

    async def iterate_jobs(self, **filters: str) -> AsyncIterator[Job]:
        """Yield one's jobs, newest first; `filters` are those of `GET /v1/jobs`, such as `state="failed"`."""
        cursor: str | None = ""
        while cursor is not None:
            page = await self._get("/v1/jobs", **filters, **({"cursor": cursor} if cursor else {}))
            for document in page["items"]:
                yield parse_job(document, self.url)
            cursor = page["next_cursor"]

    async def iterate_updates(
        self, job_id: str, *, limit_s: float = WAIT_LIMIT_S, poll_s: float = POLL_S
    ) -> AsyncIterator[Job]:
        """Yield the job now and at every change, last when it has ended. Raises WaitExpired after `limit_s`."""
        deadline = time.monotonic() + limit_s
        seen: Job | None = None
        while True:
            job = await self.fetch_job(job_id)
            if job.has_changed_since(seen):
                seen = job
                yield job
            if job.has_ended:
                return
            if time.monotonic() + poll_s > deadline:
                raise WaitExpired(job_id, limit_s)
            await asyncio.sleep(poll_s)

    async def iterate_events(self, job_id: str, *, after: int = 0) -> AsyncIterator[Event]:
        """Yield what happens to a job behind event `after`, as it happens, until the job has ended.

        A broken stream is resumed where it was; nothing comes twice and nothing is left out.
        """
        stream = EventStream(job_id, after, self._make_patience())
        while not stream.has_ended:
            try:
                async with aconnect_sse(self._http, **stream.arguments) as source:
                    self._gateway.was_reached = True
                    if source.response.is_error:
                        await source.response.aread()
                    if stream.begin(source.response):
                        async for sent in source.aiter_sse():
                            if has_data(sent):
                                yield stream.take(sent)
            except httpx.TransportError as error:
                stream.break_off(error)
            await asyncio.sleep(stream.take_pause())

    async def wait(self, job_id: str, *, limit_s: float = WAIT_LIMIT_S, poll_s: float = POLL_S) -> Job:
        """Return the job once it has a result or, when it only validates, once the study is found acceptable.

        Raises JobFailed when it ends otherwise, WaitExpired when it does not end within `limit_s`.
        """
        async for job in self.iterate_updates(job_id, limit_s=limit_s, poll_s=poll_s):
            last = job
        if not last.has_succeeded:
            raise JobFailed(last)
        return last

    async def fetch_result(self, job_id: str) -> StudyResult:
        """Return the result of a study. Raises ApiError `job_not_finished` or `job_has_no_result`."""
        return parse_result(await self._get(make_job_path(job_id, "result")), self.url)

    async def fetch_intake(self, job_id: str) -> Document:
        """Return what became of every file of the upload, however many, and the series candidates with reasons."""
        path = make_job_path(job_id, "intake")
        document = dict(await self._get(path))
        files, cursor = list(document["files"]), document.pop("next_cursor", None)
        while cursor:
            page = await self._get(path, cursor=cursor)
            files += page["files"]
            cursor = page["next_cursor"]
        return {**document, "files": files}

    async def fetch_artifacts(self, job_id: str) -> list[ArtifactLink]:
        """Return what else can be fetched of a job: volume, masks, maps, pictures, tables."""
        return [ArtifactLink.parse(one) for one in (await self._get(make_job_path(job_id, "artifacts")))["items"]]

    async def download(self, artifact: ArtifactLink, path: Path | str) -> Path:
        """Fetch an artefact into a file, which is whole or not there, and return it. Raises Damaged."""
        patience = self._make_patience()
        while True:
            try:
                async with self._http.stream("GET", keep_path(artifact.href)) as answer:
                    self._gateway.was_reached = True
                    if answer.is_success:
                        with receiving(artifact, Path(path)) as write:
                            async for chunk in answer.aiter_bytes():
                                write(chunk)
                        return Path(path)
                    await answer.aread()
                    delay_s = patience.take_refusal(answer)
            except httpx.TransportError as error:
                delay_s = patience.take_silence(error)
            await asyncio.sleep(delay_s)

    async def fetch_advice(self, code: str) -> str | None:
        """Return what the catalogue of problems advises for a code, or None when it does not know it."""
        try:
            return str((await self._get(f"/v1/problems/{code}"))["advice"])
        except (ApiError, KeyError):
            return None

    async def _get(self, path: str, **query: str) -> Document:
        return await self._read(Call("GET", path, query=query))

    def _make_patience(self, takes_s: float | None = None) -> Patience:
        return Patience(self._gateway, max(self._retry_limit_s, takes_s or 0))

    async def _read(self, call: Call) -> Document:
        """Return the JSON object of an answer."""
        patience = self._make_patience(call.takes_s)
        while True:
            try:
                with call.opened() as arguments:
                    outcome = patience.read(await self._http.request(**arguments))
            except httpx.TransportError as error:
                outcome = patience.take_silence(error)
            if not isinstance(outcome, float):
                return outcome
            await asyncio.sleep(outcome)

    async def _walk(self, steps: Steps) -> Document:
        """Make one request after the other and return the last answer."""
        call = await asyncio.to_thread(advance, steps, None)  # they read and hash the file
        while isinstance(call, Call):
            try:
                answer: Document | ApiError = await self._read(call)
            except ApiError as error:
                answer = error
            else:
                call.confirm()
            call = await asyncio.to_thread(advance, steps, answer)
        return call
