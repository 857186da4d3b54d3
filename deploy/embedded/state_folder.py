"""The state folder: everything that a stack keeps, and the lock that gives it to one launcher.

Default: `CTCLIP_STATE`, else `$XDG_STATE_HOME/ctclip`, else `~/.local/state/ctclip`.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from deploy.embedded.problems import AlreadyRunning, StackProblem
from shared.json_values import JsonObject, JsonValue

_LOCK_PATIENCE_S = 1.0
_LOCK_POLL_S = 0.05


def default_state() -> Path:
    """Return the state folder that is used when none is named."""
    named = os.environ.get("CTCLIP_STATE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "ctclip"


def read_environment(state: Path) -> dict[str, str]:
    """Return the `CTCLIP_*` settings by which the running stack of a state folder is reached.

    Raises StackProblem when none runs there.
    """
    folder = StateFolder(state.expanduser().resolve())
    kept = read_json(folder.environment_file)
    if kept is None:
        raise StackProblem(f"No platform runs in {folder.root}. `ctclip up --state {folder.root}` starts one.")
    return {name: str(value) for name, value in kept.items()}


@dataclass(frozen=True)
class StateFolder:
    """Paths inside one state folder (absolute)."""

    root: Path

    @classmethod
    def prepare(cls, root: Path) -> StateFolder:
        """Make the folder and its parts, readable by their owner alone."""
        folder = cls(root.expanduser().resolve())
        try:
            for part in (folder.root, folder.logs, folder.ready, folder.cache, folder.storage, folder.broker):
                part.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.root.chmod(0o700)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise StackProblem(
                f"The state folder {folder.root} cannot be prepared ({reason}). Name a folder of yours with --state."
            ) from error
        return folder

    @property
    def logs(self) -> Path:
        """One log file for each process, and the one before it."""
        return self.root / "logs"

    @property
    def prometheus_file(self) -> Path:
        """The configuration with which Prometheus watches this stack."""
        return self.root / "prometheus.yml"

    @property
    def ready(self) -> Path:
        """Files that our processes make when they are ready."""
        return self.root / "ready"

    @property
    def cache(self) -> Path:
        """Local copies of artefacts."""
        return self.root / "cache"

    @property
    def postgres(self) -> Path:
        """The database cluster."""
        return self.root / "postgres"

    @property
    def broker(self) -> Path:
        """The broker's append-only file."""
        return self.root / "broker"

    @property
    def storage(self) -> Path:
        """Objects as plain files, one folder for each bucket."""
        return self.root / "storage"

    @property
    def credentials_file(self) -> Path:
        """Generated secrets, 0600."""
        return self.root / "secrets.json"

    @property
    def ports_file(self) -> Path:
        """Ports of the last start."""
        return self.root / "ports.json"

    @property
    def report_file(self) -> Path:
        """What the launcher says about itself and its processes."""
        return self.root / "processes.json"

    @property
    def environment_file(self) -> Path:
        """The `CTCLIP_*` settings of the running stack, secrets among them, 0600; absent while nothing runs."""
        return self.root / "environment.json"

    def ready_file(self, name: str) -> Path:
        """Return the file by which one process says that it is ready."""
        return self.ready / name

    def log_file(self, name: str) -> Path:
        """Return the log of one process."""
        return self.logs / f"{name}.log"

    def open_new_log(self, name: str) -> Path:
        """Set the last log aside as `.log.1` and return the path of the new one."""
        path = self.log_file(name)
        if path.exists():
            path.replace(path.with_suffix(".log.1"))
        return path

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold this folder for one launcher; the kernel lets go when the process ends, however it ends.

        Raises AlreadyRunning when another process holds it.
        """
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._wait_for_lock(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _wait_for_lock(self, descriptor: int) -> None:
        deadline = time.monotonic() + _LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise AlreadyRunning(
                        f"The platform already runs in {self.root}. `ctclip status --state {self.root}` shows it, "
                        f"`ctclip down --state {self.root}` stops it; another folder makes a second platform."
                    ) from None
                time.sleep(_LOCK_POLL_S)
            else:
                return


def read_json(path: Path) -> JsonObject | None:
    """Return the object in a file, or None when there is no whole one."""
    try:
        content: JsonValue = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return cast("JsonObject", content) if isinstance(content, dict) else None


def write_json(path: Path, content: Mapping[str, JsonValue]) -> None:
    """Replace a file in one step; only its owner can read it."""
    draft = path.with_name(f"{path.name}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=2)
    draft.replace(path)
