"""Imports that are put off until they are used, for a reader that looks at headers alone and must answer at once.

Arrays of voxels, NIfTI and volume files need packages whose imports take longer than reading the headers of a study.
Where this is switched on, `import` binds them and their first use loads them. Modules of ours therefore use none of
them while they are themselves imported; a test sees to that. A nursery that reads pixels loads all before it forks.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

LATE = "late"
"""What the nursery is told on its command line to put imports off."""

PUT_OFF = frozenset({"blosc2", "nibabel", "pydicom", "scipy.ndimage"})


class _LateFinder:
    """Finds the packages that are put off as any other, but has them loaded at their first use."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return a lazy specification, or None for what is imported as ever (`importlib.abc.MetaPathFinder`)."""
        spec = PathFinder.find_spec(name, path, target) if name in PUT_OFF else None
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def put_off_imports() -> None:
    """Put off imports in this process. For one thread only: loading at first use is not safe beside others."""
    sys.meta_path.insert(0, _LateFinder())


def find_loaded() -> frozenset[str]:
    """Return which of the packages were loaded."""
    return frozenset(name for name in PUT_OFF if type(sys.modules.get(name)) is ModuleType)
