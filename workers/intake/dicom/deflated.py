"""Datasets of the deflated transfer syntax (PS3.5 A.5), expanded under the budget of the archive."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from shared.settings import MIB
from workers.intake.archive.content import ExpansionBudget
from workers.intake.files import FileCode, FileRejected


def inflate_dataset(deflated: bytes, budget: ExpansionBudget) -> Iterator[bytes]:
    """Yield the expanded dataset in pieces of 1 MiB. Raises InputProblem beyond the budget."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    rest = deflated
    try:
        while not inflater.eof:
            piece = inflater.decompress(rest, MIB)
            rest = inflater.unconsumed_tail
            if not piece:
                break
            budget.spend(len(piece))
            yield piece
    except zlib.error as error:
        raise FileRejected(FileCode.ENTRY_DAMAGED, "the deflated dataset is damaged") from error
