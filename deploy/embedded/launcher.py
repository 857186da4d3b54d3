"""The launcher: holds a state folder, ends what a crash left behind, starts servers and platform, keeps them running.

`python -m deploy.embedded.launcher --state DIR` is what `ctclip up --detach` starts.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

from pydantic import ValidationError

from deploy.embedded.credentials import load_or_create_credentials
from deploy.embedded.first_key import register_first_key
from deploy.embedded.monitoring import describe_scraping
from deploy.embedded.platform_programs import (
    GATEWAY,
    PORT_NAMES,
    Platform,
    Surroundings,
    base_environment,
    product_platform,
)
from deploy.embedded.ports import is_free
from deploy.embedded.problems import StackProblem
from deploy.embedded.processes import ORPHAN_MARK, end_processes, find_orphans, identify_self
from deploy.embedded.report import StackPhase, StackReport, ignore_report, read_report, report_children, write_report
from deploy.embedded.servers import SERVER_NAMES, bring_up, choose_embedded, plan_servers, remember_ports
from deploy.embedded.state_folder import StateFolder, write_json
from deploy.embedded.supervisor import StartInterrupted, Supervisor, read_tail
from shared.addresses import is_loopback
from shared.pseudonyms import UnusableSecret, make_pseudonyms
from shared.settings import Authentication, Settings

_log = logging.getLogger(__name__)

_READY_LIMIT_S = 300.0
_MIGRATION_LIMIT_S = 120.0
_MIGRATION = "migration"
_ORPHAN_GRACE_S = 5.0
_POLL_S = 0.03
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequests:
    """Counts the signals that ask the launcher to stop; the second one says: hurry."""

    def __init__(self) -> None:
        self._count = 0

    def install(self) -> None:
        """Take Ctrl-C, SIGTERM and the closing of the terminal."""
        for number in _STOP_SIGNALS:
            signal.signal(number, self._note)

    def must_stop(self) -> bool:
        """Whether somebody asked."""
        return self._count > 0

    def must_hurry(self) -> bool:
        """Whether somebody asked twice."""
        return self._count > 1

    def _note(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._count += 1


class Launcher:
    """Runs one stack in the calling process, in its main thread."""

    def __init__(
        self,
        folder: StateFolder,
        platform: Platform,
        *,
        environment: Mapping[str, str],
        on_report: Callable[[StackReport], None],
    ) -> None:
        self._folder = folder
        self._platform = platform
        self._environment = environment
        self._on_report = on_report
        self._stop_requests = StopRequests()
        self._report = StackReport(StackPhase.STARTING, identify_self(), str(folder.root))
        self._supervisor = Supervisor(
            folder,
            on_change=self._note_change,
            must_stop=self._stop_requests.must_stop,
            must_hurry=self._stop_requests.must_hurry,
        )

    def run(self) -> None:
        """Start everything, keep it running until a stop signal, and stop it.

        Raises AlreadyRunning when another launcher holds the folder, StackProblem when the stack does not get ready.
        """
        with self._folder.lock():
            self._stop_requests.install()
            with _log_to(self._folder.open_new_log("launcher")):
                self._run_locked()

    def _run_locked(self) -> None:
        end_orphans(self._folder)
        final = StackPhase.STOPPED
        try:
            self._publish(StackPhase.STARTING)
            self._start()
            self._publish(StackPhase.READY)
            self._supervisor.run()
        except StartInterrupted:
            _log.info("asked to stop before ready")
        except StackProblem as problem:
            final = StackPhase.FAILED
            self._report = replace(self._report, failure=str(problem))
            raise
        finally:
            self._stop(final)

    def _start(self) -> None:
        embedded = choose_embedded(self._environment)
        ports = self._choose_ports()
        credentials = load_or_create_credentials(self._folder)
        servers = plan_servers(self._folder, embedded, ports, credentials)
        own = {**servers.settings(), **credentials.choose_keys(self._environment)}
        settings = _check_settings(own, ports[GATEWAY])
        surroundings = Surroundings(
            folder=self._folder,
            settings=settings,
            environment=base_environment(self._environment, own, self._folder),
            ports=ports,
            credentials=credentials,
        )
        self._report = replace(self._report, url=surroundings.url, flower_url=surroundings.flower_url)
        write_json(self._folder.environment_file, surroundings.joining_settings())
        bring_up(servers, self._supervisor)
        self._migrate(surroundings)
        self._report = replace(self._report, api_key=register_first_key(settings, credentials.api_key))
        write_json(self._folder.prometheus_file, describe_scraping(surroundings, self._report.api_key))
        self._supervisor.start(self._platform.make_programs(surroundings))
        self._supervisor.wait_ready(_READY_LIMIT_S)

    def _choose_ports(self) -> dict[str, int]:
        ports = remember_ports(self._folder, (*SERVER_NAMES, *PORT_NAMES))
        named = self._environment.get("CTCLIP_GATEWAY_PORT", "")
        if named.isdecimal():
            if not is_free(int(named)):
                raise StackProblem(f"CTCLIP_GATEWAY_PORT is {named}, and something else listens there. Name another.")
            ports[GATEWAY] = int(named)
        return ports

    def _migrate(self, surroundings: Surroundings) -> None:
        """Run the migration to its end. Raises StackProblem when it fails."""
        with self._folder.open_new_log(_MIGRATION).open("ab") as log:
            process = subprocess.Popen(  # noqa: S603  # our own command line
                self._platform.migration,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**surroundings.environment, ORPHAN_MARK: str(self._folder.root)},
                start_new_session=True,
            )
        try:
            self._await_migration(process)
        finally:
            process.kill()
            process.wait()

    def _await_migration(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _MIGRATION_LIMIT_S
        while process.poll() is None:
            if self._stop_requests.must_stop():
                raise StartInterrupted
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_S)
        if process.returncode != 0:
            raise StackProblem(
                f"The database could not be brought to this version's schema. The end of "
                f"{self._folder.log_file(_MIGRATION)}:\n{read_tail(self._folder, _MIGRATION)}\nThe data is kept."
            )

    def _stop(self, final: StackPhase) -> None:
        self._publish(StackPhase.STOPPING)
        self._supervisor.stop()
        # What a worker started in a session of its own outlives its group.
        end_processes(find_orphans(self._folder.root), _ORPHAN_GRACE_S)
        self._folder.environment_file.unlink(missing_ok=True)
        self._publish(final)

    def _note_change(self) -> None:
        phase = self._report.phase
        if phase in {StackPhase.READY, StackPhase.DEGRADED}:
            phase = StackPhase.READY if self._supervisor.is_ready else StackPhase.DEGRADED
        self._publish(phase)

    def _publish(self, phase: StackPhase) -> None:
        children = report_children(self._supervisor.children)
        for name, process in children.items():
            before = self._report.processes.get(name)
            if before is None or before.state is not process.state:
                _log.info("%s is %s (process %d)", name, process.state, process.identity.pid)
        self._report = replace(self._report, phase=phase, processes=children)
        write_report(self._folder, self._report)
        try:
            self._on_report(self._report)
        except OSError:
            # The terminal has gone. The stack must still be kept, or stopped, in order.
            _log.warning("nobody reads the reports any more")
            self._on_report = ignore_report


def end_orphans(folder: StateFolder) -> int:
    """End what a crashed launcher left running in a state folder (hold its lock). Returns how many there were."""
    report = read_report(folder)
    known = [process.identity for process in report.processes.values()] if report else []
    return end_processes(find_orphans(folder.root, known), _ORPHAN_GRACE_S)


@contextmanager
def _log_to(path: Path) -> Iterator[None]:
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    _log.propagate = False
    try:
        yield
    finally:
        _log.removeHandler(handler)
        handler.close()


def _check_settings(embedded: Mapping[str, str], gateway_port: int) -> Settings:
    """Read every `CTCLIP_*` setting once before anything starts. Raises StackProblem naming the wrong ones."""
    given = {name.removeprefix("CTCLIP_").lower(): value for name, value in embedded.items()}
    try:
        settings = Settings(**{**given, "gateway_port": gateway_port})  # type: ignore[arg-type]  # parsed by pydantic
    except ValidationError as error:
        wrong = "; ".join(f"CTCLIP_{'_'.join(map(str, part['loc'])).upper()}: {part['msg']}" for part in error.errors())
        raise StackProblem(f"Settings in the environment cannot be used. {wrong}") from error
    try:
        make_pseudonyms(settings.pseudonym_key)
    except UnusableSecret as error:
        raise StackProblem(str(error)) from error
    if settings.authentication is Authentication.OFF and not is_loopback(settings.gateway_host):
        raise StackProblem(
            f"CTCLIP_GATEWAY_HOST={settings.gateway_host} may be reached from other machines, and nobody is asked for "
            "a key. Set CTCLIP_AUTHENTICATION=required, or name an address of this machine alone, such as 127.0.0.1."
        )
    return settings


def main(platform: Platform | None = None) -> int:
    """Run a stack as a process of its own; the report file says how it goes."""
    parser = argparse.ArgumentParser(prog="python -m deploy.embedded.launcher")
    parser.add_argument("--state", type=Path, required=True)
    folder = StateFolder.prepare(parser.parse_args().state)
    launcher = Launcher(folder, platform or product_platform(), environment=os.environ, on_report=ignore_report)
    try:
        launcher.run()
    except StackProblem as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
