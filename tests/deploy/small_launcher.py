"""A launcher of the real servers with two small programs in place of the product: starts in two seconds."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from deploy.embedded.launcher import Launcher, main
from deploy.embedded.platform_programs import Platform, Surroundings, process_environment
from deploy.embedded.program import Program, StopTurn
from deploy.embedded.report import StackReport
from deploy.embedded.state_folder import StateFolder

WAIT_FOR_EVER = (
    "import os, pathlib, signal\npathlib.Path(os.environ['CTCLIP_READY_FILE']).touch()\nwhile True: signal.pause()\n"
)
START_A_LONER = (
    "import os, pathlib, signal, subprocess, sys\n"
    "loner = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'], start_new_session=True)\n"
    "pathlib.Path(os.environ['LONER_FILE']).write_text(str(loner.pid))\n" + WAIT_FOR_EVER
)
BREAK = "import sys; sys.exit('the reason stands in the log')"


def make_platform(kind: str) -> Platform:
    """Return a platform that works, one whose program breaks, or one whose migration fails."""
    scripts = {"waiter": WAIT_FOR_EVER, "parent": START_A_LONER}
    if kind == "breaking":
        scripts["breaker"] = BREAK
    migration = (sys.executable, "-c", BREAK if kind == "unmigrated" else "pass")
    return Platform(
        migration,
        lambda surroundings: [_make_program(surroundings, name, script) for name, script in scripts.items()],
    )


def _make_program(surroundings: Surroundings, name: str, script: str) -> Program:
    folder = surroundings.folder
    return Program(
        name=name,
        command=(sys.executable, "-c", script),
        environment={**process_environment(surroundings, name), "LONER_FILE": str(folder.root / "loner")},
        is_ready=folder.ready_file(name).exists,
        stop_turn=StopTurn.WORKERS,
    )


def run_unheard(state: Path) -> int:
    """Run a stack whose reports nobody reads any more: the terminal has gone."""

    def fail(report: StackReport) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    folder = StateFolder.prepare(state)
    Launcher(folder, make_platform("sound"), environment=os.environ, on_report=fail).run()
    return 0


if __name__ == "__main__":
    kind = sys.argv.pop(1)
    sys.exit(run_unheard(Path(sys.argv[-1])) if kind == "unheard" else main(make_platform(kind)))
