"""What a request is and what its answer means, without the network: the same for both clients."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO, cast
from urllib.parse import quote, urlsplit

import httpx

from client.documents import Document, Job, Problem
from client.errors import ApiError, ClientError, Unreachable
from client.results import StudyResult

DEFAULT_URL = "http://localhost:8000"

# Reading is the wait for the answer to an upload, which is stored before it is answered.
TIMEOUT = httpx.Timeout(connect=5.0, read=120.0, write=120.0, pool=5.0)
# Comments come every 15 seconds while nothing happens.
STREAM_TIMEOUT = httpx.Timeout(connect=5.0, read=60.0, write=10.0, pool=5.0)
RETRY_LIMIT_S = 60.0
WAIT_LIMIT_S = 3600.0
POLL_S = 0.5

USER_AGENT = "ctclip"

_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 20.0
_SHORTEST_SHARE = 0.8
_PATIENCE_ASKED = frozenset({429, 502, 503, 504, 507})
PASSING = frozenset({"idempotency_key_in_flight", "upload_busy", "upload_interrupted"})
"""Refusals for a broken line, or for what somebody else is doing at this moment."""

OnProgress = Callable[[int, int], None]
"""Is told of an upload: bytes sent, and bytes of all. Begins again at 0 when the upload is repeated."""


@dataclass(frozen=True)
class Upload:
    """A file to be streamed as the field `file` of a form."""

    path: Path
    on_progress: OnProgress | None = None


@dataclass(frozen=True)
class Call:
    """One request of the API; every one here may be repeated. `on_answer` is called once it was answered well.

    `takes_s`: how long it may take where that is longer than usual, also when others wait for the same work.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    upload: Upload | None = None
    json: Mapping[str, object] | None = None
    content: bytes | None = None
    on_answer: Callable[[], object] | None = None
    takes_s: float | None = None

    @contextmanager
    def opened(self) -> Iterator[dict[str, Any]]:
        """Yield the arguments of `httpx.Client.request`; the file to upload is open while the block runs."""
        arguments: dict[str, Any] = {"method": self.method, "url": self.path}
        arguments |= {"params": self.query, "headers": self.headers}
        if self.takes_s is not None:
            arguments["timeout"] = httpx.Timeout(TIMEOUT.connect, read=self.takes_s)
        if self.upload is None:
            yield {**arguments, "json": self.json, "content": self.content}
            return
        with self.upload.path.open("rb") as body:
            content = body if self.upload.on_progress is None else _CountedFile(body, self.upload.on_progress)
            yield {**arguments, "files": {"file": (make_file_name(self.upload.path), cast("IO[bytes]", content))}}

    def confirm(self) -> None:
        """Tell whoever wants to know that the request was answered well."""
        if self.on_answer is not None:
            self.on_answer()


def make_submission(
    study: Path, options: Mapping[str, str], idempotency_key: str, on_progress: OnProgress | None
) -> Call:
    """Return the request that submits a study in one go."""
    headers = {"Idempotency-Key": idempotency_key}
    return Call("POST", "/v1/jobs", query=options, headers=headers, upload=Upload(study, on_progress))


def make_file_name(path: Path) -> str:
    """Return the name under which a file is sent: bytes of it that are not UTF-8 cannot be."""
    return path.name.encode("utf-8", "replace").decode()


def make_job_path(job_id: str, noun: str = "") -> str:
    """Return the address of a job, or of something of it such as `result`."""
    path = f"/v1/jobs/{quote(job_id, safe='')}"
    return f"{path}/{noun}" if noun else path


def keep_path(link: str) -> str:
    """Return a link of an answer without its host: the API key goes nowhere but to the API."""
    return urlsplit(link)._replace(scheme="", netloc="").geturl()


def make_headers(api_key: str | None) -> dict[str, str]:
    """Return the headers of every request. Raises ValueError when the key cannot be one."""
    if api_key is None:
        return {"User-Agent": USER_AGENT}
    if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise ValueError("An API key consists of printable ASCII characters without spaces.")
    return {"User-Agent": USER_AGENT, "Authorization": f"Bearer {api_key}"}


@dataclass
class Gateway:
    """An address, and whether anything has answered there."""

    url: str
    was_reached: bool = False


class Patience:
    """How long one goes on asking: as `Retry-After` says, else longer and longer, `limit_s` in all."""

    def __init__(self, gateway: Gateway, limit_s: float, *, draw: Callable[[], float] = random.random) -> None:
        self._gateway = gateway
        self._limit_s = limit_s
        self._draw = draw
        self.renew()

    def renew(self) -> None:
        """Begin anew, after something was received."""
        self._deadline = time.monotonic() + self._limit_s
        self._tries = 0

    def read(self, answer: httpx.Response) -> Document | float:
        """Return the JSON object of an answer, or after how many seconds to ask again. Raises ApiError."""
        self._gateway.was_reached = True
        document = _parse_object(answer)
        if answer.is_success and document is not None:
            return document
        return self.take_refusal(answer)

    def take_refusal(self, answer: httpx.Response) -> float:
        """Return after how many seconds to ask again. Raises ApiError when that would not help, or no longer."""
        document = _parse_object(answer)
        problem = Problem.parse(document or {"title": f"Not an answer of this API (HTTP {answer.status_code})"})
        error = ApiError(answer.status_code, problem)
        if answer.status_code not in _PATIENCE_ASKED and problem.code not in PASSING:
            raise error
        asked = answer.headers.get("Retry-After", "")
        return self._delay_or_raise(float(asked) if asked.isdecimal() else self._grow(), error)

    def take_end(self) -> float:
        """Return after how many seconds to open a stream again that ended before its job did. Raises Unreachable."""
        return self._delay_or_raise(
            self._grow(), Unreachable(f"The stream of {self._gateway.url} ends again and again.")
        )

    def take_silence(self, error: httpx.TransportError) -> float:
        """Return after how many seconds to ask again a gateway that is away. Raises Unreachable."""
        failure = Unreachable(describe_silence(self._gateway.url, error))
        if not self._gateway.was_reached:
            raise failure from error
        return self._delay_or_raise(self._grow(), failure)

    def _grow(self) -> float:
        # Drawn, so that many clients of one gateway do not come back at once.
        share = _SHORTEST_SHARE + (1 - _SHORTEST_SHARE) * self._draw()
        delay_s = min(_FIRST_DELAY_S * 2.0**self._tries, _LONGEST_DELAY_S) * share
        self._tries += 1
        return delay_s

    def _delay_or_raise(self, delay_s: float, error: ClientError) -> float:
        if time.monotonic() + delay_s > self._deadline:
            raise error
        return delay_s


def parse_job(document: Document, url: str) -> Job:
    """Return a job. Raises Unreachable when what answers at the address is something else."""
    try:
        return Job.parse(document)
    except (KeyError, TypeError, ValueError) as error:
        raise Unreachable(f"What answers at {url} is not this API: it sent no job.") from error


def parse_result(document: Document, url: str) -> StudyResult:
    """Return a result. Raises Unreachable when what answers at the address is something else."""
    try:
        return StudyResult.parse(document)
    except (KeyError, TypeError, ValueError) as error:
        raise Unreachable(f"What answers at {url} is not this API: it sent no result.") from error


def describe_silence(url: str, error: httpx.TransportError) -> str:
    """Return that nothing answers at an address, and what to do."""
    return f"Nothing answers at {url} ({type(error).__name__}). Is the platform running? `ctclip up` starts one here."


def _parse_object(answer: httpx.Response) -> Document | None:
    try:
        document: Any = answer.json()
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


class _CountedFile:
    """A file that tells how much of it was read; as much of one as httpx asks for."""

    def __init__(self, body: BinaryIO, on_progress: OnProgress) -> None:
        self._body = body
        self._on_progress = on_progress
        self._size_bytes = body.seek(0, 2)
        body.seek(0)

    def fileno(self) -> int:
        return self._body.fileno()

    def read(self, size_bytes: int = -1) -> bytes:
        chunk = self._body.read(size_bytes)
        self._on_progress(self._body.tell(), self._size_bytes)
        return chunk

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._body.seek(offset, whence)

    def tell(self) -> int:
        return self._body.tell()
