"""Latents of studies: each study is read and encoded once, and what came of it is kept on disk.

A latent is known by the digest of its study, of the encoder, and by the policy that chose the series, so another table,
head or seed costs no encoding, and a run that was cut off goes on where it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from shared.errors import InputProblem
from shared.problems import ProblemCode
from training.supervised.base import BaseModel
from training.supervised.reading import StudyReader, compute_study_digest
from training.supervised.table import Row
from workers.ct_clip.image_tower import ImageTower
from workers.ct_clip.preprocess import prepare
from workers.intake.choice.ranking import POLICY

Report = Callable[[str], None]

DUPLICATE = "duplicate_study"
"""Why a row is left out whose study stands in the table before."""

_DIGEST_CHARACTERS = 16
_REPORT_S = 20.0


@dataclass(frozen=True)
class EncodedRow:
    """A row, the digest of its study, and its latent (d,), or why it has none: `problem` and what intake said."""

    row: Row
    digest: str | None = None
    latent: Tensor | None = None
    problem: str | None = None
    detail: str = ""


class Encoding:
    """Encodes rows with the tower of a base model, and keeps the latents in a folder."""

    def __init__(self, base: BaseModel, reader: StudyReader, folder: Path, device: torch.device) -> None:
        key = f"{base.encoder_digest[:_DIGEST_CHARACTERS]}-{POLICY}"
        self._folder = folder / key
        self._folder.mkdir(parents=True, exist_ok=True)
        self._preprocessing = base.preprocessing
        self._reader = reader
        self._device = device
        self._base = base
        self._tower: ImageTower | None = None

    def encode_all(self, rows: Sequence[Row], report: Report) -> list[EncodedRow]:
        """Return what became of each row, in order."""
        encoded: list[EncodedRow] = []
        seen: set[str] = set()
        started = told = time.monotonic()
        for row in rows:
            encoded.append(self._encode(row, seen))
            if time.monotonic() - told > _REPORT_S or len(encoded) == len(rows):
                told = time.monotonic()
                report(_tell(encoded, len(rows), told - started))
        self._tower = None
        return encoded

    def prepare(self, row: Row, digest: str) -> Tensor:
        """Return the network's input (1, c, z, x, y) of a row. Raises InputProblem."""
        return prepare(self._reader.read(row.study, digest), self._preprocessing)

    def _encode(self, row: Row, seen: set[str]) -> EncodedRow:
        try:
            digest = compute_study_digest(row.study)
            if digest in seen:
                return EncodedRow(row, digest, problem=DUPLICATE, detail="The same study stands in an earlier line.")
            seen.add(digest)
            return EncodedRow(row, digest, self._fetch_latent(row, digest))
        except InputProblem as refusal:
            return EncodedRow(row, problem=str(refusal.problem.code), detail=refusal.problem.detail)

    def _fetch_latent(self, row: Row, digest: str) -> Tensor:
        path, refused = self._folder / f"{digest}.npy", self._folder / f"{digest}.json"
        if path.exists():
            return torch.from_numpy(np.load(path, allow_pickle=False))
        if refused.exists():
            raise _read_refusal(refused)
        try:
            latent = self._compute_latent(self.prepare(row, digest))
        except InputProblem as refusal:
            _write(refused, json.dumps([refusal.problem.code, refusal.problem.detail]).encode())
            raise
        draft = path.with_suffix(".new.npy")
        np.save(draft, latent.numpy())
        draft.replace(path)
        return latent

    @torch.no_grad()
    def _compute_latent(self, prepared: Tensor) -> Tensor:
        if self._tower is None:
            self._tower = self._base.make_tower().to(self._device)
        latents: Tensor = self._tower(prepared.to(self._device))
        return latents[0].float().cpu()


def _read_refusal(path: Path) -> InputProblem:
    code, detail = json.loads(path.read_text(encoding="utf-8"))
    return InputProblem(ProblemCode(code), detail)


def _write(path: Path, content: bytes) -> None:
    draft = path.with_suffix(".new")
    draft.write_bytes(content)
    draft.replace(path)


def _tell(encoded: Sequence[EncodedRow], count: int, seconds: float) -> str:
    unread = sum(each.problem is not None for each in encoded)
    left = seconds / len(encoded) * (count - len(encoded))
    return f"encoded {len(encoded)} of {count} studies, {unread} left out, {seconds:.0f} s, about {left:.0f} s to go"
