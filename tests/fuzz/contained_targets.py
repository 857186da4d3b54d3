"""What is fuzzed in the product's way: in a child of the nursery, because it reaches native decoders.

A decoder that takes its child with it is what the child is for: that is counted. A child that outlives its time or its
memory, meets a bug of ours or leaves something behind is a failure, and so is a nursery that does not live on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from random import Random

import psutil

from shared.artefacts import UploadKind
from shared.byte_units import MIB
from tests.fuzz.dicom_mutations import mutate_dicom, mutate_pixels
from tests.fuzz.nifti_mutations import mutate_nifti
from tests.fuzz.seeds import list_batches, list_studies
from tests.fuzz.target import Broken, Contained, Read, Target
from tests.fuzz.zip_mutations import mutate_zip, repack, unpack_leniently
from workers.intake.children import ChildDied, Nursery, NurseryDied
from workers.intake.limits import IntakeLimits
from workers.intake.messages import Ending, Message, Order
from workers.intake.question import Question

SLOWEST_S = 30.0
_LIMITS = IntakeLimits(
    archive_bytes=64 * MIB,
    archive_entries=2000,
    archive_depth=1,
    memory_bytes=1536 * MIB,
    threads=1,
    time=timedelta(seconds=SLOWEST_S),
)
_QUESTION = Question(reads_refused=True, has_digest=True, has_preview=True, voxels=((0, 0, 0), (9, 9, 9)))
_PATIENCE_S = 10.0
_BARE_DESCRIPTORS = 4  # standard streams and the control socket
_OUT_OF_MEMORY = "it ran out of memory"
_MAY_STAY = {"upload", "upload.nii", "volume.b2nd", "source_series.json", "preview.png"}


class _Reader:
    """Reads inputs in children, and looks at what each leaves behind."""

    def __init__(self, nursery: Nursery) -> None:
        self._nursery = nursery
        self._process = psutil.Process(nursery.pid)
        self._descriptors = _BARE_DESCRIPTORS

    def read(self, content: bytes, scratch: Path) -> str:
        """Have an input read. Raises Contained for a child that died, Broken for what should not be."""
        upload = scratch / "upload"
        upload.write_bytes(content)
        kind = UploadKind.ZIP if content.startswith(b"PK") else UploadKind.NIFTI
        order = Order(str(upload), kind, scratch / "volume.b2nd", _LIMITS, question=_QUESTION)
        try:
            return _judge(self._carry_out(order))
        finally:
            self._check_remains(scratch)

    def _carry_out(self, order: Order) -> Message:
        started = time.monotonic()
        try:
            return self._nursery.start_child().carry_out(order, lambda _progress: None)
        except NurseryDied as death:
            raise Broken("the nursery died") from death
        except ChildDied as death:
            if time.monotonic() - started >= SLOWEST_S:
                raise Broken("it took too long") from death
            if str(death) == _OUT_OF_MEMORY:
                raise Broken(_OUT_OF_MEMORY) from death
            raise Contained(str(death)) from death

    def _check_remains(self, scratch: Path) -> None:
        left = {path.name for path in scratch.iterdir()} - _MAY_STAY
        for path in scratch.iterdir():
            path.unlink()
        if left:
            raise Broken(f"files are left: {sorted(left)}")
        self._check_nursery()

    def _check_nursery(self) -> None:
        """Wait until the nursery has put away what it held for the child."""
        deadline = time.monotonic() + _PATIENCE_S
        while self._process.children() or self._process.num_fds() > self._descriptors:
            if time.monotonic() > deadline:
                raise Broken("the nursery holds a child or its descriptors")
            time.sleep(0.001)


def _judge(message: Message) -> str:
    if message.ending is not Ending.ANSWERED or message.report is None:
        raise Broken(f"it ended as {message.ending}: {message.evidence}")
    report = message.report
    if report.is_accepted and (report.hu is None or report.chosen is None):
        raise Broken("accepted without a volume")
    problem = "accepted" if report.problem is None else report.problem.code
    return " ".join((problem, *sorted({file.code for file in report.files if file.code})))


def mutate_batch(random: Random, content: bytes) -> bytes:
    """Change the pixels of some slices, each in its own way."""
    files = dict(unpack_leniently(content))
    for name in random.sample(sorted(files), random.randint(1, max(1, len(files)))) if files else ():
        files[name] = mutate_pixels(random, files[name])
    return repack(files)


def mutate_study(random: Random, content: bytes) -> bytes:
    """Change a study: its archive, one file, some files, or all files in the same way."""
    if not content.startswith(b"PK"):
        return mutate_nifti(random, content)
    files = unpack_leniently(content)
    if not files or random.random() < 0.3:
        return mutate_zip(random, content)
    seed, is_same = random.getrandbits(32), random.random() < 0.5
    share = random.choice((0.02, 0.1, 0.5, 1.0))
    return repack(
        {
            name: mutate_dicom(Random(seed) if is_same else random, file) if random.random() < share else file
            for name, file in files.items()
        }
    )


@contextmanager
def open_contained() -> Iterator[Read]:
    """Offer a nursery."""
    with closing(Nursery()) as nursery:
        yield _Reader(nursery).read


TARGETS = {
    "pixels": Target(list_batches, mutate_batch, open_contained),
    "study": Target(list_studies, mutate_study, open_contained),
}
