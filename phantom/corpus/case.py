"""What a case of the corpus is: how to make it, how to send it, and the right answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from phantom.corpus.chest import Chest
from phantom.study import Study

Content: TypeAlias = "bytes | Iterable[bytes]"
Facts: TypeAlias = "Mapping[str, str | int | float | list[str]]"


class Outcome(StrEnum):
    """How an upload ends."""

    REFUSED = "refused"
    """At the door, by an HTTP status; there is no job."""

    REJECTED = "rejected"
    """As a job, with a problem code."""

    ACCEPTED = "accepted"
    """As a job whose study can be read."""


class Digest(StrEnum):
    """Which `Content-Digest` (RFC 9530) goes with the body."""

    RIGHT = "right"
    WRONG = "wrong"


@dataclass(frozen=True)
class Sending:
    """How the request differs from an ordinary one: a multipart form with the file, sent once and whole.

    `is_raw`: the file itself is the body. `is_chunked`: without Content-Length. `content_length`: the length
    told in place of the true one. `cut_at`: the connection ends after this share of the body; the same body is then
    sent whole with the same key, and must be taken as if the first had never come.
    `times`: this often at the same instant. `before`: the case whose file goes first, with the same headers.
    `raw_header`: one header line as bytes that no HTTP library would send.
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    file_name: str = "study.zip"
    digest: Digest | None = None
    is_raw: bool = False
    is_chunked: bool = False
    content_length: int | None = None
    cut_at: float | None = None
    times: int = 1
    before: str | None = None
    raw_header: str | None = None


@dataclass(frozen=True)
class Expected:
    """The right answer.

    `files` are the codes that the per-file list must hold, each at least so often; `warnings` those that the job must
    carry, `without_warnings` those that it must not. `facts` are members of the problem. `study` is what the volume
    must be made of; None where that is not told. `split_into` counts the jobs that a split upload leaves.
    """

    outcome: Outcome
    status: int
    code: str | None = None
    facts: Facts = field(default_factory=dict)
    files: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    without_warnings: tuple[str, ...] = ()
    study: Callable[[Chest], Study] | None = None
    split_into: int = 0
    candidates: int = 1
    has_file_list: bool = True


@dataclass(frozen=True)
class Case:
    """One input. `id` begins with its row in the list of hostile inputs (`B7-flat`), or with `G` when it is good.

    `needs_limits`: the answer is right only on a platform with the limits that the corpus was written for.
    """

    id: str
    title: str
    make: Callable[[Chest], Content]
    expected: Expected
    sending: Sending = Sending()
    suffix: str = ".zip"
    needs_limits: bool = False

    @property
    def row(self) -> str:
        """The row of the list."""
        return self.id.partition("-")[0]


def refused(status: int, code: str | None) -> Expected:
    """Expect an HTTP answer and no job."""
    return Expected(Outcome.REFUSED, status, code, has_file_list=False)


def rejected(
    code: str, *, facts: Facts | None = None, files: Mapping[str, int] | None = None, has_file_list: bool = True
) -> Expected:
    """Expect a job that ends rejected. Without `has_file_list` the archive could not even be opened."""
    return Expected(Outcome.REJECTED, 202, code, facts=facts or {}, files=files or {}, has_file_list=has_file_list)


def unopened(code: str, *, facts: Facts | None = None) -> Expected:
    """Expect the refusal of an archive that cannot be opened, and so has no list of files."""
    return rejected(code, facts=facts, has_file_list=False)


def accepted(
    *warnings: str,
    files: Mapping[str, int] | None = None,
    without_warnings: tuple[str, ...] = (),
    study: Callable[[Chest], Study] | None = None,
    candidates: int = 1,
) -> Expected:
    """Expect a study that is read."""
    return Expected(
        Outcome.ACCEPTED,
        202,
        files=files or {},
        warnings=warnings,
        without_warnings=without_warnings,
        study=study,
        candidates=candidates,
    )


def whole(chest: Chest) -> Study:
    """Tell that the volume is the very study that all cases are made from."""
    return chest.study
