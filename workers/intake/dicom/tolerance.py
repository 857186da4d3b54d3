"""The seam to pydicom and the decoders behind it: whatever they raise about a file is that file's fault."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from workers.intake.files import FileCode, FileRejected


@contextmanager
def tolerant_pydicom(detail: str, code: FileCode) -> Iterator[None]:
    """Translate errors into FileRejected and silence warnings: what matters of a file is checked by ourselves.

    Only the error's type is told, because the text may quote the file. Running out of memory is not the file's fault
    alone, so that error passes.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except (FileRejected, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  # pydicom and the decoders raise whatever they like
        raise FileRejected(code, f"{detail} ({type(error).__name__})") from None
