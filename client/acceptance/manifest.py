"""The manifest of a corpus: how to send each input, and the right answer. Written by `ctclip acceptance corpus`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.errors import ClientError

MANIFEST = "manifest.json"
_VERSION = 1


class BadManifest(ClientError):
    """The folder holds no corpus that this version understands."""


@dataclass(frozen=True)
class Sending:
    """How the request differs from an ordinary upload; see the fields of the manifest."""

    headers: Mapping[str, str]
    options: Mapping[str, str]
    file_name: str
    is_raw: bool
    is_chunked: bool
    content_length: int | None
    cut_at: float | None
    times: int
    before: str | None
    raw_header: str | None

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Sending:
        """Read a case's `send`."""
        return cls(
            headers=dict(document.get("headers") or {}),
            options=dict(document.get("options") or {}),
            file_name=str(document.get("file_name") or "study.zip"),
            is_raw=bool(document.get("is_raw")),
            is_chunked=bool(document.get("is_chunked")),
            content_length=document.get("content_length"),
            cut_at=document.get("cut_at"),
            times=int(document.get("times") or 1),
            before=document.get("before"),
            raw_header=document.get("raw_header"),
        )


@dataclass(frozen=True)
class Expected:
    """The right answer: `outcome` is refused (no job), rejected or accepted (a job)."""

    outcome: str
    status: int
    code: str | None
    facts: Mapping[str, Any]
    files: Mapping[str, int]
    has_file_list: bool
    warnings: frozenset[str]
    without_warnings: frozenset[str]
    candidates: int
    split_into: int
    volume: Mapping[str, Any] | None

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Expected:
        """Read a case's `expected`."""
        return cls(
            outcome=str(document["outcome"]),
            status=int(document["status"]),
            code=document.get("code"),
            facts=dict(document.get("facts") or {}),
            files=dict(document.get("files") or {}),
            has_file_list=bool(document.get("has_file_list")),
            warnings=frozenset(document.get("warnings") or ()),
            without_warnings=frozenset(document.get("without_warnings") or ()),
            candidates=int(document.get("candidates") or 0),
            split_into=int(document.get("split_into") or 0),
            volume=document.get("volume"),
        )


@dataclass(frozen=True)
class Case:
    """One input: its file, how to send it, the right answer."""

    id: str
    title: str
    path: Path
    needs_limits: bool
    send: Sending
    expected: Expected


@dataclass(frozen=True)
class Manifest:
    """A corpus in a folder. `limits` are those of the platform that it was written for, by name as `/v1/limits`."""

    scale: str
    limits: Mapping[str, int]
    cases: Mapping[str, Case]


def read_manifest(folder: Path) -> Manifest:
    """Return the corpus of a folder. Raises BadManifest."""
    try:
        document = json.loads((folder / MANIFEST).read_text("utf-8"))
        if document["version"] != _VERSION:
            raise BadManifest(f"{folder / MANIFEST} is of version {document['version']}, expected {_VERSION}.")
        cases = [_parse_case(folder, case) for case in document["cases"]]
        return Manifest(str(document["scale"]), dict(document["limits"]), {case.id: case for case in cases})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadManifest(
            f"There is no corpus in {folder} ({type(error).__name__}). Write one: ctclip acceptance corpus -o {folder}"
        ) from error


def _parse_case(folder: Path, document: Mapping[str, Any]) -> Case:
    return Case(
        id=str(document["id"]),
        title=str(document["title"]),
        path=folder / Path(document["file"]).name,
        needs_limits=bool(document.get("needs_limits")),
        send=Sending.parse(document["send"]),
        expected=Expected.parse(document["expected"]),
    )
