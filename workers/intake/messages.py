"""What the child and its parent say to each other: one JSON object a line."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import TypeAdapter

from shared.artefacts import UploadKind
from shared.problems import ProblemCode
from workers.intake.limits import IntakeLimits
from workers.intake.question import Question
from workers.intake.report import IntakeReport


@dataclass(frozen=True)
class Order:
    """One study to be read.

    `address` is a presigned HTTP address, or the path of a local file or of a folder of DICOM files. The child writes
    the volume to `volume_path` where `keeps_volume`, and beside it the images that it was made of, where they can be
    referred to, the preview, where the question wants one, and its scratch files. What came over HTTP is held against
    `sha256` before anything is said against it.
    """

    address: str
    kind: UploadKind
    volume_path: Path
    limits: IntakeLimits
    upload_name: str = "upload"
    question: Question = Question()  # noqa: RUF009  # frozen
    keeps_volume: bool = True
    sha256: str | None = None

    @property
    def preview_path(self) -> Path:
        """Where the preview is written."""
        return self.volume_path.with_name("preview.png")

    @property
    def source_path(self) -> Path:
        """Where it is written which images the volume was made of."""
        return self.volume_path.with_name("source_series.json")


class Ending(StrEnum):
    """How the child's work ended."""

    ANSWERED = "answered"
    STORAGE_FAULT = "storage_fault"
    NO_SPACE = "no_space"
    OUT_OF_MEMORY = "out_of_memory"
    DEFECT = "defect"


@dataclass(frozen=True)
class Message:
    """A line of the child: progress while `ending` is None, then one last line.

    `evidence` names the error's type and the functions it passed; never its text, which may quote the study.
    """

    progress: float = 0.0
    ending: Ending | None = None
    report: IntakeReport | None = None
    fault: ProblemCode | None = None
    evidence: str | None = None


_ORDERS = TypeAdapter(Order)
_MESSAGES = TypeAdapter(Message)


def encode_order(order: Order) -> bytes:
    """Return an order as a line."""
    return _ORDERS.dump_json(order) + b"\n"


def decode_order(line: bytes) -> Order:
    """Read a line that `encode_order` wrote."""
    return _ORDERS.validate_json(line)


def encode_message(message: Message) -> bytes:
    """Return a message as a line."""
    return _MESSAGES.dump_json(message) + b"\n"


def decode_message(line: bytes) -> Message:
    """Read a line that `encode_message` wrote. Raises ValueError when it is anything else."""
    return _MESSAGES.validate_json(line)
