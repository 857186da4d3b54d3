"""Opening PyTorch checkpoints of others: tensors and plain values only, memory mapped, nothing that could run code."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model_weights.matching import show_name
from shared.byte_units import MIB
from shared.errors import Defect

_MOST_PICKLE_BYTES = 64 * MIB
"""Of everything in a checkpoint but its tensors; that of the published CT-CLIP has 0.1."""

_OLD_FORMAT = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_BLOCK_BYTES = 4 * MIB
_NAMES_SHOWN = 8
_PLAIN_TYPES = ("b1", "i4", "i8", "f2", "f4", "f8")

_BROKEN = (OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, AssertionError)
"""What torch raises over files that are none of its own, or no longer whole."""


@dataclass
class _ScalarType:
    """Stands in for `numpy.dtype`, whose own state could be set so that bytes are taken for addresses."""

    code: str
    order: str = "<"

    def __post_init__(self) -> None:
        if self.code not in _PLAIN_TYPES:
            raise ValueError(f"a scalar of type {self.code!r}")

    def __setstate__(self, state: tuple[object, ...]) -> None:
        self.order = ">" if state[1] == ">" else "<"


def _make_type(code: str, *_flags: object) -> _ScalarType:
    return _ScalarType(code)


def _make_scalar(kind: _ScalarType, content: bytes) -> object:
    return np.frombuffer(content, kind.order + kind.code)[0].item()


def _encode(text: str, _encoding: str) -> bytes:
    """Return the bytes that pickles of protocol 2 keep as text."""
    return text.encode("latin1")


# Trainers put NumPy's scalars beside the tensors (metrics). What a checkpoint calls by these names makes plain numbers
# and nothing else; the first is what NumPy 1 called the second.
_SCALARS: list[Callable[..., object] | tuple[Callable[..., object], str]] = [
    (_make_scalar, "numpy.core.multiarray.scalar"),
    (_make_scalar, "numpy._core.multiarray.scalar"),
    (_make_type, "numpy.dtype"),
    _ScalarType,
    (_encode, "_codecs.encode"),
]


def open_checkpoint(path: Path) -> object:
    """Return what a checkpoint holds, its tensors on the CPU and read when they are used.

    Raises Defect when it holds more than tensors, plain values and NumPy scalars, is damaged, or is no checkpoint.
    """
    _require_whole_archive(path)
    try:
        with torch.serialization.safe_globals(_SCALARS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about storages of its own
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise Defect("the checkpoint holds more than tensors, so it is not opened: it could run code") from error
    except _BROKEN as error:
        raise Defect("the checkpoint cannot be read as a PyTorch file; download or save it again") from error


def require_plain_tensors(state: Mapping[str, Tensor]) -> None:
    """Raise Defect naming tensors that are not numbers in ordinary order: sparse, quantised, without content."""
    odd = [show_name(name) for name, tensor in state.items() if not _is_plain(tensor)]
    if odd:
        raise Defect(
            f"tensors of the checkpoint are sparse, quantised or without numbers: {', '.join(odd[:_NAMES_SHOWN])}"
        )


def require_finite_numbers(state: Mapping[str, Tensor]) -> None:
    """Raise Defect naming tensors that are not plain floating-point numbers, all of them finite in float32."""
    require_plain_tensors(state)
    _refuse("are no floating-point numbers", [name for name, each in state.items() if not each.is_floating_point()])
    _refuse("hold values that are not finite", [name for name, each in state.items() if not _is_finite(each)])


def _refuse(what: str, names: Sequence[str]) -> None:
    if names:
        shown = ", ".join(show_name(name) for name in names[:_NAMES_SHOWN])
        raise Defect(f"{len(names)} tensors of the checkpoint {what}, it is not usable: {shown}")


def _is_finite(tensor: Tensor) -> bool:
    return bool(tensor.float().isfinite().all())


def _is_plain(tensor: Tensor) -> bool:
    has_strides = tensor.layout is torch.strided and not tensor.is_nested
    return has_strides and not tensor.is_quantized and not tensor.is_meta


def _require_whole_archive(path: Path) -> None:
    """Raise Defect unless a file is an archive as torch writes it: stored, not compressed, and undamaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise Defect("the checkpoint is compressed, which PyTorch's files never are; take it as published")
            for entry in archive.infolist():
                _require_undamaged(archive, entry)
    except (OSError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError) as error:
        raise Defect(_explain_unreadable(path)) from error


def _require_undamaged(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Read an entry to its end, where its checksum is held against it (1.8 GB take a second or two)."""
    if entry.filename.endswith(".pkl") and entry.file_size > _MOST_PICKLE_BYTES:
        raise Defect("the checkpoint holds far more than tensors, so it is not opened")
    with archive.open(entry) as stream:
        while stream.read(_BLOCK_BYTES):
            pass


def _explain_unreadable(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            is_old = stream.read(len(_OLD_FORMAT)) == _OLD_FORMAT
    except OSError:
        is_old = False
    if is_old:
        return "the checkpoint is of PyTorch's old format; open it with torch.load and save it again with torch.save"
    return "the checkpoint cannot be read as a PyTorch file: cut off, damaged or of another kind; download it again"
