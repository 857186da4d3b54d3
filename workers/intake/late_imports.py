"""Imports that are put off until they are used: `import` binds a package, and its first use loads it.

What few studies need (NIfTI, functional groups of enhanced images) is never loaded beforehand: it would take 31 MB in
each reader. A reader that looks at headers alone, and must answer at once, puts off more: packages for arrays of
voxels and for volume files, whose imports take longer than reading the headers of a study. Modules of ours use none of
these while they are themselves imported; a test sees to that.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

LATE = "late"
"""What the nursery is told on its command line to put imports off."""

RARELY_USED = frozenset({"nibabel", "pydicom"})
PUT_OFF = RARELY_USED | {"blosc2", "scipy.ndimage"}


class _LateFinder:
    """Finds the packages that are put off as any other, but has them loaded at their first use."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a lazy specification, or None for what is imported as ever (`importlib.abc.MetaPathFinder`)."""
        spec = PathFinder.find_spec(name, path, target) if name in self._names else None
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def put_off_imports(names: frozenset[str]) -> None:
    """Put off imports in this process. Their first use is for one thread: loading is not safe beside others."""
    sys.meta_path.insert(0, _LateFinder(names))


def find_loaded() -> frozenset[str]:
    """Return which of the packages were loaded."""
    return frozenset(name for name in PUT_OFF if type(sys.modules.get(name)) is ModuleType)
