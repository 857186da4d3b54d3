"""Sends one input of the corpus as its manifest says, and gathers what the platform answers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx

from client.acceptance.manifest import Case, Sending
from client.acceptance.raw_http import Answer, RawRequest, parse_object, post, post_and_leave
from client.documents import WITH_RESULT, WITHOUT_RESULT
from client.errors import WaitExpired
from client.exchange import TIMEOUT, Gateway, Patience, make_headers

_ENDED = WITH_RESULT | WITHOUT_RESULT
_IN_FLIGHT = "idempotency_key_in_flight"
_EARLY = frozenset({httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE})
_POLL_S = 0.2
_PATIENCE_S = 120.0
_CHUNK_BYTES = 1 << 20
# The models are not what is judged: the study is read, and no more.
_OPTIONS = {"validate_only": "true"}

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Observed:
    """What came back. `job` and `intake` are empty where there was no job; `parts` are jobs that a split left."""

    answers: Sequence[Answer]
    job: Document = field(default_factory=dict)
    intake: Document = field(default_factory=dict)
    parts: Sequence[Observed] = ()


class Platform:
    """A running platform, as any caller sees it. `run_id` keeps the keys of one run apart from those of others.

    `api_key` goes with every request, but for cases that send an `Authorization` of their own.
    """

    def __init__(self, url: str, *, run_id: str, limit_s: float, api_key: str | None = None) -> None:
        self._url = url.rstrip("/")
        self._run_id = run_id
        self._limit_s = limit_s
        self._headers = {**make_headers(api_key), "User-Agent": "ctclip-acceptance"}
        self._http = httpx.Client(base_url=self._url, timeout=TIMEOUT, headers=self._headers)
        self._gateway = Gateway(self._url)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def fetch(self, path: str) -> Document:
        """Return a document of the API, later where it asks for patience. Raises httpx.HTTPError or ApiError."""
        patience = Patience(self._gateway, _PATIENCE_S)
        while isinstance(outcome := patience.read(self._http.get(path)), float):
            time.sleep(outcome)
        return outcome

    def observe(self, case: Case, cases: Mapping[str, Case]) -> Observed:
        """Send a case and follow its job to the end. Raises httpx.HTTPError, OSError or ClientError."""
        if case.send.before is not None:
            self._send_patiently(case, cases[case.send.before].path)
        if case.send.cut_at is not None:
            length = int(case.path.stat().st_size * case.send.cut_at)
            post_and_leave(self._make_raw(case), length)
        answers = self._send_at_once(case) if case.send.times > 1 else [self._send_patiently(case, case.path)]
        job_id = answers[0].document.get("id")
        return self._follow(str(job_id), answers) if answers[0].status == httpx.codes.ACCEPTED else Observed(answers)

    def _send_at_once(self, case: Case) -> list[Answer]:
        with ThreadPoolExecutor(case.send.times) as pool:
            return list(pool.map(lambda _: self._send_patiently(case, case.path), range(case.send.times)))

    def _send_patiently(self, case: Case, path: Path) -> Answer:
        """Send a file with the case's headers, again where the platform asks for patience."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            answer = self._send(case, path)
            is_early = answer.status in _EARLY or answer.document.get("code") == _IN_FLIGHT
            delay_s = _read_delay(answer)
            if not is_early or time.monotonic() + delay_s > deadline:
                return answer
            time.sleep(delay_s)

    def _send(self, case: Case, path: Path) -> Answer:
        send = case.send
        if send.content_length is not None or send.cut_at is not None or send.raw_header is not None:
            return post(self._make_raw(case))
        headers, options = self._fill(send.headers), {**_OPTIONS, **send.options}
        with path.open("rb") as stream:
            if not send.is_raw:
                files = {"file": (send.file_name, stream)}
                response = self._http.post("/v1/jobs", params=options, headers=headers, files=files)
            else:
                headers = {"Content-Type": "application/zip", **headers}
                content = iter(lambda: stream.read(_CHUNK_BYTES), b"") if send.is_chunked else stream
                response = self._http.post("/v1/jobs", params=options, headers=headers, content=content)
        return Answer(response.status_code, parse_object(response.content), dict(response.headers.items()))

    def _make_raw(self, case: Case) -> RawRequest:
        send = case.send
        return RawRequest(
            url=f"{self._url}/v1/jobs?{urlencode({**_OPTIONS, **send.options})}",
            headers={**self._choose_ours(send), **self._fill(send.headers)},
            body=case.path,
            content_length=case.path.stat().st_size if send.content_length is None else send.content_length,
            raw_header=send.raw_header,
        )

    def _choose_ours(self, send: Sending) -> dict[str, str]:
        """Return the headers of a raw request that the case does not send itself."""
        raw_name = (send.raw_header or "").partition(":")[0]
        theirs = {name.strip().lower() for name in (*send.headers, raw_name)}
        ours = {**self._headers, "Content-Type": "application/zip"}
        return {name: value for name, value in ours.items() if name.lower() not in theirs}

    def _fill(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {name: value.replace("{run}", self._run_id) for name, value in headers.items()}

    def _follow(self, job_id: str, answers: Sequence[Answer]) -> Observed:
        job = self._wait(job_id)
        intake = self.fetch(f"/v1/jobs/{job_id}/intake")
        parts = (job.get("problem") or {}).get("jobs") or ()
        return Observed(answers, job, intake, [self._follow(str(part["id"]), ()) for part in parts])

    def _wait(self, job_id: str) -> Document:
        deadline = time.monotonic() + self._limit_s
        while (job := self.fetch(f"/v1/jobs/{job_id}")).get("state") not in _ENDED:
            if time.monotonic() > deadline:
                raise WaitExpired(job_id, self._limit_s)
            time.sleep(_POLL_S)
        return job


def _read_delay(answer: Answer) -> float:
    """Return after how many seconds to send again: what the answer says, else soon."""
    asked = httpx.Headers(answer.headers).get("Retry-After", "")
    return float(asked) if asked.isdecimal() else _POLL_S
