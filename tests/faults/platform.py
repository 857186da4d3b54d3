"""The whole platform behind proxies: real processes that can be killed, paused, starved and cut off."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
from celery import Celery
from sqlalchemy import func, select, text

from deploy.embedded.control import start_detached, stop
from deploy.embedded.platform_programs import PORT_NAMES
from deploy.embedded.report import StackPhase, read_report
from deploy.embedded.servers import SERVER_NAMES, remember_ports
from deploy.embedded.state_folder import StateFolder, read_environment
from shared.database import transaction
from shared.settings import Settings
from shared.stages import StageName
from shared.states import StageState
from shared.storage import ObjectStore
from shared.tables import Outbox, StageRun
from tests.faults.fault_file import FAULT_FILE
from tests.faults.launcher import PROXIES
from tests.faults.proxy import Proxy, proxy_to
from tests.stack.running import RunningStack, wait_until
from workers.runtime.celery_app import make_celery

LEASE_S = 6
SCRATCH_BYTES = 64 * 1024 * 1024
WORKER_OF = {
    StageName.INTAKE: "worker-intake",
    StageName.MEDNEXT: "worker-models",
    StageName.FUSION: "worker-fusion",
}

_ENVIRONMENT = {
    "CTCLIP_LEASE_DURATION": f"PT{LEASE_S}S",
    "CTCLIP_SHUTDOWN_GRACE": "PT3S",
    "CTCLIP_TRANSIENT_RETRY_DELAY": "PT1S",
    "CTCLIP_LOST_WORKER_LIMIT": "1",
    "CTCLIP_SELF_CHECK_INTERVAL": "PT0S",
    "CTCLIP_WEBHOOK_TIMEOUT": "PT3S",
    "CTCLIP_REPORT_LANGUAGES": "",
    "CTCLIP_REUSE": "false",
    "CTCLIP_SCRATCH_RESERVE_BYTES": "1",
    "CTCLIP_STORAGE_RESERVE_BYTES": "1",
    "CTCLIP_THREADS": "1",
}
_POLL_S = 0.002
_FAULT = "device-fault"


@dataclass(frozen=True)
class FaultyPlatform:
    """A running platform. What this class asks of the servers goes past the proxies."""

    stack: RunningStack
    folder: StateFolder
    study: Path
    database: Proxy
    broker: Proxy
    storage: Proxy

    @cached_property
    def settings(self) -> Settings:
        """Settings that lead past the proxies."""
        named = {name.removeprefix("CTCLIP_").lower(): value for name, value in self.stack.environment.items()}
        return Settings(**named)  # type: ignore[arg-type]  # parsed by pydantic

    @cached_property
    def store(self) -> ObjectStore:
        """The object storage."""
        return ObjectStore(self.settings)

    @cached_property
    def app(self) -> Celery:
        """The broker, as the relay uses it."""
        return make_celery(self.settings)

    @property
    def fault_file(self) -> Path:
        """The file that says how the models' networks fail."""
        return self.folder.root / _FAULT

    @property
    def cache(self) -> Path:
        """Where workers keep copies and scratch files."""
        return self.settings.cache_dir

    def find(self, name: str) -> psutil.Process:
        """Return a process as it is now: the supervisor may have started it again."""
        report = read_report(self.folder)
        assert report is not None
        return psutil.Process(report.processes[name].identity.pid)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a process."""
        self.find(name).send_signal(number)

    @contextmanager
    def paused(self, *names: str) -> Iterator[None]:
        """Stop processes where they are, and let them go on afterwards, those that live."""
        processes = [self.find(name) for name in names]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                if process.is_running():
                    process.resume()

    def is_whole(self) -> bool:
        """Whether every process is ready."""
        report = read_report(self.folder)
        return report is not None and report.phase is StackPhase.READY

    def submit(self, **params: str) -> uuid.UUID:
        """Submit the study for MedNeXt alone and return the id of its job."""
        answer = self.stack.http.post(
            "/v1/jobs", params={"models": "mednext", "reuse": "false", **params}, content=self.study.read_bytes()
        )
        assert answer.status_code == 202, answer.text
        return uuid.UUID(answer.json()["id"])

    def wait_for_end(self, job_id: uuid.UUID) -> dict[str, Any]:
        """Return a job once it has ended."""
        return self.stack.wait_for_end(str(job_id))

    def fetch_run(self, job_id: uuid.UUID, stage: StageName) -> StageRun:
        """Return a stage as it stands."""
        with transaction(self.stack.engine) as session:
            return session.get_one(StageRun, (job_id, stage))

    def await_state(self, job_id: uuid.UUID, stage: StageName, *states: StageState, limit_s: float = 120) -> StageRun:
        """Return a stage as soon as it is in one of the states; looks five hundred times a second."""
        deadline = time.monotonic() + limit_s
        while (run := self.fetch_run(job_id, stage)).state not in states:
            assert time.monotonic() < deadline, f"{stage} is {run.state}, not {states}, after {limit_s} s"
            time.sleep(_POLL_S)
        return run

    def await_sent(self, *job_ids: uuid.UUID) -> None:
        """Wait until the relay has handed over all messages of jobs."""
        unsent = select(func.count()).select_from(Outbox).where(Outbox.job_id.in_(job_ids))

        def is_sent() -> bool:
            with transaction(self.stack.engine) as session:
                return session.scalar(unsent) == 0

        wait_until(is_sent, "the relay sends what is written")

    def count_waiting_for_locks(self, name: str) -> int:
        """Return how many connections of a process wait for a lock."""
        query = text(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = :name AND wait_event_type = 'Lock'"
        )
        with self.stack.engine.connect() as connection:
            return connection.scalar(query, {"name": f"ctclip-{name}"}) or 0


@contextmanager
def running_platform(state: Path, study: Path) -> Iterator[FaultyPlatform]:
    """Start the platform behind proxies on a state folder, and stop it afterwards."""
    folder = StateFolder.prepare(state)
    ports = remember_ports(folder, (*SERVER_NAMES, *PORT_NAMES))
    with ExitStack() as exits:
        proxies = {name: exits.enter_context(proxy_to(ports[name])) for name in SERVER_NAMES}
        cache = exits.enter_context(_small_disk(state / "small-disk"))
        pairs = ",".join(f"{ports[name]}:{proxy.own_port}" for name, proxy in proxies.items())
        environment = {**os.environ, **_ENVIRONMENT, PROXIES: pairs, "CTCLIP_CACHE_DIR": str(cache)}
        environment[FAULT_FILE] = str(folder.root / _FAULT)
        exits.callback(stop, folder)
        command = (sys.executable, "-m", "tests.faults.launcher")
        report = start_detached(folder, environment=environment, command=command)
        stack = RunningStack(state, report.public(), read_environment(state))
        exits.callback(stack.close)
        yield FaultyPlatform(stack, folder, study, *(proxies[name] for name in SERVER_NAMES))


@contextmanager
def _small_disk(path: Path) -> Iterator[Path]:
    """A disk of 64 MiB in memory where this process may mount one, else a plain folder."""
    path.mkdir(parents=True, exist_ok=True)
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    is_mounted = (
        mount is not None
        and unmount is not None
        and not subprocess.run(
            [mount, "-t", "tmpfs", "-o", f"size={SCRATCH_BYTES}", "ctclip-test", str(path)],
            capture_output=True,
            check=False,
        ).returncode
    )
    try:
        yield path
    finally:
        if is_mounted and unmount is not None:
            subprocess.run([unmount, "--lazy", str(path)], capture_output=True, check=False)
