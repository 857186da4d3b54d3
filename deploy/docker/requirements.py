"""`python -m deploy.docker.requirements`: write what each image installs, from the extras and the lock.

A list is the closure of the extras of an image, at the versions of `requirements.lock`, with the SHA-256 of each file
that the package index has of them: pip refuses any other. torch is in no list: the Dockerfile takes it from the lock,
as the build for the CPU or with CUDA.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = "ct-clip-inference"
ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).parent
LOCK = ROOT / "requirements.lock"

IMAGES: Mapping[str, tuple[str, ...]] = {
    "gateway": ("gateway",),
    # The operator's commands, `ctclip keys` among them, are at home where control runs.
    "worker": ("gateway", "worker", "monitor"),
}
"""Extras of this project that an image installs; both images of workers have the same list."""

TORCH = "torch"
NOT_INSTALLED = {"torchvision", "dipy", "fury", "imgkit", "trx-python", "vtk", "argparse", "setuptools"}
"""What packages name and nothing of ours imports (see the Makefile): in no lock."""

_COMPILE = (
    *("--quiet", "--no-deps", "--generate-hashes", "--universal", "--python-version", "3.11"),
    *("--no-header", "--no-annotate"),
)
_MADE = "# Made by `python -m deploy.docker.requirements` from pyproject.toml and requirements.lock.\n"


class UnlockedPackage(Exception):
    """An image needs a package that `requirements.lock` does not name."""


def main() -> None:
    """Write the list of every image. Asks the package index for the files of every version."""
    for image in IMAGES:
        locate_list(image).write_text(_MADE + add_hashes(list_pins(image)), "utf-8")


def locate_list(image: str) -> Path:
    """Return where the list of an image is kept."""
    return FOLDER / f"requirements-{image}.txt"


def list_pins(image: str) -> list[str]:
    """Return what an image installs, each as `name==version`, by its canonical name.

    Raises UnlockedPackage.
    """
    locked = read_lock()
    names = compute_closure(IMAGES[image]) - {PROJECT, TORCH, *NOT_INSTALLED}
    missing = sorted(names - locked.keys())
    if missing:
        raise UnlockedPackage(f"requirements.lock lacks {', '.join(missing)}: install them, then `make lock`.")
    return [f"{name}=={locked[name].split('==', 1)[1]}" for name in sorted(names)]


def read_pins(image: str) -> list[str]:
    """Return what the kept list of an image installs, each as `name==version`."""
    lines = locate_list(image).read_text("utf-8").splitlines()
    return [line.removesuffix(" \\") for line in lines if "==" in line]


def add_hashes(pins: Sequence[str]) -> str:
    """Return a list in pip's hash-checking mode: the files of every version, for any processor and system."""
    compiled = subprocess.run(  # noqa: S603  # our own command line
        [sys.executable, "-m", "uv", "pip", "compile", "-", *_COMPILE],
        input="\n".join(pins),
        text=True,
        check=True,
        stdout=subprocess.PIPE,
    )
    return compiled.stdout


def read_lock() -> dict[str, str]:
    """Return the lines of the lock by the canonical name of their package."""
    lines = [line for line in LOCK.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(line.split("==", 1)[0]): line for line in lines}


def compute_closure(extras: tuple[str, ...]) -> set[str]:
    """Return the canonical names of all that the extras of this project lead to, as it is installed here."""
    found: set[str] = set()
    open_ends = {(PROJECT, extra) for extra in ("", *extras)}
    seen = set(open_ends)
    while open_ends:
        name, extra = open_ends.pop()
        found.add(name)
        if name in NOT_INSTALLED:
            continue
        new = set(_iterate_needs(name, extra)) - seen
        seen |= new
        open_ends |= new
    return found


def _iterate_needs(name: str, extra: str) -> Iterator[tuple[str, str]]:
    for line in distribution(name).requires or ():
        need = Requirement(line)
        if need.marker is None or need.marker.evaluate({"extra": extra}):
            needed = canonicalize_name(need.name)
            yield from ((needed, asked) for asked in ("", *need.extras))


if __name__ == "__main__":
    main()
