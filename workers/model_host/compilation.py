"""The one place where torch's complaints about compiling become ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import Defect
from workers.device import ComputeMode

_COMPILERS = ("torch._dynamo.", "torch._inductor.")


@contextmanager
def told_compilation(mode: ComputeMode) -> Iterator[None]:
    """Raise Defect where a network that is loaded and warmed up inside cannot be compiled on this machine."""
    try:
        yield
    except RuntimeError as error:
        # By name: importing the classes costs a second, also where nothing is compiled.
        if not mode.is_compiled or not type(error).__module__.startswith(_COMPILERS):
            raise
        reason = str(error).strip().splitlines()[0]
        raise Defect(
            f"torch cannot compile networks on this machine ({reason[:120]}). It needs a C++ compiler (g++); without"
            " one, set CTCLIP_COMPILE_NETWORKS=false"
        ) from error
