"""What a child of the nursery does: reads one study. Meets untrusted bytes, so it holds nothing else.

It takes one order from its socket, limits itself, works, and answers on the same socket.
"""

from __future__ import annotations

import errno
import resource
import socket
import time
import traceback
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

from shared.artefacts import UploadKind
from shared.errors import TransientFault
from shared.problems import ProblemCode
from workers.intake.archive import ByteSource, FileSource, HttpSource
from workers.intake.files import FileOutcome
from workers.intake.messages import Ending, Message, Order, decode_order, encode_message
from workers.intake.nifti_study import read_nifti_study
from workers.intake.study import StudyRead, read_study
from workers.volume import write_volume
from workers.volume.source import write_source

_PROGRESS_INTERVAL_S = 0.5
_FRAMES_TOLD = 8
_OPEN_FILES = 64


def work(talk: socket.socket) -> None:
    """Wait for an order, carry it out, answer."""
    with talk.makefile("rb") as orders:
        line = orders.readline()
    if not line:
        return
    order = decode_order(line)
    _limit_itself(order)
    talk.sendall(encode_message(_carry_out(order, talk)))


def _limit_itself(order: Order) -> None:
    """Set the limits. The address space counts what came from the nursery, some 0.3 GiB of libraries."""
    memory, seconds = order.limits.memory_bytes, int(order.limits.time.total_seconds()) + 1
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))


def _carry_out(order: Order, talk: socket.socket) -> Message:
    try:
        return Message(ending=Ending.ANSWERED, report=_read(order, _Reporter(talk)).report)
    except TransientFault as fault:
        return Message(ending=Ending.STORAGE_FAULT, fault=fault.code, evidence=str(fault))
    except MemoryError as error:
        return Message(ending=Ending.OUT_OF_MEMORY, evidence=_describe(error))
    except Exception as error:  # noqa: BLE001  # process edge: the parent decides what it means
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            return Message(ending=Ending.NO_SPACE, fault=ProblemCode.NO_SPACE)
        return Message(ending=Ending.DEFECT, evidence=_describe(error))


def _read(order: Order, reporter: _Reporter) -> StudyRead:
    with _open(order) as source:
        read = _read_kind(order, source, reporter)
        if isinstance(source, HttpSource) and order.sha256 is not None and _is_doubtful(order, read):
            source.require_sent(order.sha256)
    if read.preview is not None:
        order.preview_path.write_bytes(read.preview)
    if read.volume is not None and order.keeps_volume:
        started = time.perf_counter()
        digest = write_volume(read.volume, order.volume_path, threads=order.limits.threads)
        read = replace(read, report=replace(read.report, volume_sha256=digest))
        if read.source is not None:
            write_source(order.source_path, read.source)
        read.report.seconds["write"] = round(time.perf_counter() - started, 4)
    return read


def _is_doubtful(order: Order, read: StudyRead) -> bool:
    """Whether the answer could come from bytes that changed on their way. A ZIP has sums of its own, NIfTI may not."""
    has_rejected = any(file.outcome is FileOutcome.REJECTED for file in read.report.files)
    return read.report.problem is not None or has_rejected or order.kind is UploadKind.NIFTI


def _open(order: Order) -> AbstractContextManager[ByteSource | Path]:
    if order.address.startswith(("http://", "https://")):
        return HttpSource(order.address, order.volume_path.parent)
    path = Path(order.address)
    return nullcontext(path) if path.is_dir() else FileSource(path)


def _read_kind(order: Order, source: ByteSource | Path, reporter: _Reporter) -> StudyRead:
    scratch = order.volume_path.parent
    if order.kind is UploadKind.NIFTI:
        assert not isinstance(source, Path)
        return read_nifti_study(source, order.upload_name, order.question, order.limits, scratch=scratch)
    return read_study(source, order.question, order.limits, scratch=scratch, report=reporter.report)


class _Reporter:
    """Sends progress, but not more often than anybody can read it."""

    def __init__(self, talk: socket.socket) -> None:
        self._talk = talk
        self._next_at = time.monotonic()

    def report(self, progress: float) -> None:
        now = time.monotonic()
        if now >= self._next_at:
            self._next_at = now + _PROGRESS_INTERVAL_S
            with suppress(BrokenPipeError):
                self._talk.sendall(encode_message(Message(progress=round(progress, 3))))


def _describe(error: BaseException) -> str:
    """Return the error's type and where it came from. Its text may quote the study, so it stays here."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES_TOLD:]
    return f"{type(error).__qualname__} in {' > '.join(f'{frame.name}:{frame.lineno}' for frame in frames)}"
