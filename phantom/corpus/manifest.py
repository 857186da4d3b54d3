"""Writing the corpus: one file for each case, and the manifest that says how to send it and what must come back."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from phantom.corpus.case import Case, Digest, Expected
from phantom.corpus.chest import Chest
from phantom.corpus.registry import CASES, LEFT_OUT
from phantom.study import Study

MANIFEST = "manifest.json"
VERSION = 1


def write_corpus(
    folder: Path, cases: Iterable[Case], chest: Chest, report: Callable[[Case], None] = lambda _: None
) -> dict[str, Any]:
    """Write the cases and their manifest into a folder, made if absent; return the manifest.

    A case that another one sends first is written with it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    documents = []
    for case in _complete(cases):
        report(case)
        digest = write_case(case, chest, folder / get_file_name(case))
        documents.append(describe_case(case, chest, digest))
    manifest = {
        "version": VERSION,
        "scale": chest.scale.name,
        "seed": chest.seed,
        "limits": {
            "upload_bytes": chest.scale.upload_bytes,
            "archive_bytes": chest.scale.archive_bytes,
            "archive_entries": chest.scale.archive_entries,
        },
        "cases": documents,
        "left_out": dict(LEFT_OUT),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
    return manifest


def write_case(case: Case, chest: Chest, path: Path) -> bytes:
    """Write one input, piece by piece, and return its SHA-256."""
    made = case.make(chest)
    digest = hashlib.sha256()
    with path.open("wb") as stream:
        for piece in [made] if isinstance(made, bytes) else made:
            stream.write(piece)
            digest.update(piece)
    return digest.digest()


def get_file_name(case: Case) -> str:
    """Return the name of a case's file."""
    return f"{case.id}{case.suffix}"


def describe_case(case: Case, chest: Chest, digest: bytes) -> dict[str, Any]:
    """Return a case as the manifest tells it, in JSON values."""
    sending = {name: value for name, value in asdict(case.sending).items() if value not in (None, False, {})}
    sending.pop("digest", None)
    headers = dict(case.sending.headers)
    if case.sending.digest is not None:
        told = digest if case.sending.digest is Digest.RIGHT else bytes(len(digest))
        headers["Content-Digest"] = f"sha-256=:{base64.b64encode(told).decode()}:"
    return {
        "id": case.id,
        "row": case.row,
        "title": case.title,
        "file": get_file_name(case),
        "needs_limits": case.needs_limits,
        "send": {**sending, "headers": headers},
        "expected": _describe_expected(case.expected, chest),
    }


def _describe_expected(expected: Expected, chest: Chest) -> dict[str, Any]:
    return {
        "outcome": str(expected.outcome),
        "status": expected.status,
        "code": expected.code,
        "facts": dict(expected.facts),
        "files": dict(expected.files),
        "has_file_list": expected.has_file_list,
        "warnings": list(expected.warnings),
        "without_warnings": list(expected.without_warnings),
        "candidates": expected.candidates,
        "split_into": expected.split_into,
        "volume": None if expected.study is None else describe_volume(expected.study(chest)),
    }


def describe_volume(study: Study) -> Mapping[str, Any]:
    """Return what the volume of a study must be."""
    return {
        "shape_zyx": list(study.hu.shape),
        "spacing_zyx_mm": list(study.spacing_zyx_mm),
        "hu": {"min": int(study.hu.min()), "max": int(study.hu.max()), "mean": float(study.hu.mean())},
    }


def _complete(cases: Iterable[Case]) -> list[Case]:
    chosen = list(cases)
    ids = {case.id for case in chosen}
    before = {case.sending.before for case in chosen if case.sending.before} - ids
    return [*(CASES[name] for name in sorted(before)), *chosen]
