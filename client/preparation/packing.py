"""One study into one ZIP. The same images give the same bytes, whatever their files are called."""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from client.preparation.deidentification import Pseudonyms, deidentify
from client.preparation.scanning import Image, LeftOut

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a ZIP knows
_REGULAR_FILE = 0o100644 << 16
_UNIX = 3
_LEVEL = 1  # twice as fast as the usual 6, a tenth larger
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


@dataclass(frozen=True)
class StudyPlan:
    """A study, its images in their order, and the ZIP that it goes into."""

    images: Sequence[Image]
    output: Path
    pseudonyms: Pseudonyms | None

    @property
    def study_uid(self) -> str:
        """The UID that the ZIP will hold."""
        uid = self.images[0].study_uid
        return self.pseudonyms.rename_uid(uid) if self.pseudonyms else uid

    @property
    def series(self) -> int:
        """How many series there are."""
        return len({image.series_uid for image in self.images})

    @property
    def size_bytes(self) -> int:
        """Bytes of all images as they lie."""
        return sum(image.size_bytes for image in self.images)


@dataclass(frozen=True)
class Packed:
    """What became of a study: images in the ZIP, its size, and files that were left out only now."""

    images: int
    size_bytes: int
    left_out: Sequence[LeftOut]


def plan_studies(images: Sequence[Image], folder: Path, pseudonyms: Pseudonyms | None) -> list[StudyPlan]:
    """Return the studies of some images, in the order of their UIDs."""
    by_study: dict[str, list[Image]] = {}
    for image in sorted(images):
        by_study.setdefault(image.study_uid, []).append(image)
    return [_plan(study, folder, pseudonyms) for study in by_study.values()]


def _plan(images: Sequence[Image], folder: Path, pseudonyms: Pseudonyms | None) -> StudyPlan:
    uid = images[0].study_uid
    name = pseudonyms.rename_uid(uid) if pseudonyms else uid
    if not _UID.fullmatch(name):  # what a file says is never a path
        name = hashlib.sha256(name.encode()).hexdigest()[:32]
    return StudyPlan(images, folder / f"{name}.zip", pseudonyms)


def pack(plan: StudyPlan) -> Packed:
    """Write the ZIP of a study, whole or not at all. Every file is read once. Raises OSError."""
    part = plan.output.with_name(f".{plan.output.name}.{os.getpid()}.part")
    try:
        with zipfile.ZipFile(part, "w") as archive:
            left_out = _fill(archive, plan)
            images = len(archive.namelist())
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(plan.output)
    finally:
        part.unlink(missing_ok=True)
    return Packed(images, plan.output.stat().st_size, left_out)


def _fill(archive: zipfile.ZipFile, plan: StudyPlan) -> list[LeftOut]:
    left_out: list[LeftOut] = []
    series = {uid: number for number, uid in enumerate(dict.fromkeys(image.series_uid for image in plan.images), 1)}
    packed: set[bytes] = set()
    for image in plan.images:
        content = image.path.read_bytes()
        digest = hashlib.sha256(content).digest()
        if digest in packed:
            left_out.append(LeftOut.DUPLICATE)
            continue
        packed.add(digest)
        # Names say nothing of the sender: no name of a file or a folder goes along.
        entry = zipfile.ZipInfo(f"{series[image.series_uid]:03d}/{len(packed):05d}.dcm", _EPOCH)
        entry.external_attr, entry.create_system, entry.compress_type = _REGULAR_FILE, _UNIX, zipfile.ZIP_DEFLATED
        archive.writestr(
            entry, deidentify(content, plan.pseudonyms) if plan.pseudonyms else content, compresslevel=_LEVEL
        )
    return left_out
