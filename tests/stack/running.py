"""The whole platform, started by its own command, for tests that need every process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Engine, create_engine, text

CTCLIP = (sys.executable, "-m", "client")
JOB_LIMIT_S = 240.0


def wait_until(condition: Callable[[], object], what: str, limit_s: float = 120.0) -> None:
    """Look again and again until `condition` holds; fail with `what` after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        time.sleep(0.02)


@dataclass(frozen=True)
class RunningStack:
    """A started platform."""

    state: Path
    description: Mapping[str, Any]
    environment: Mapping[str, str]

    @property
    def url(self) -> str:
        """Address of the gateway."""
        return str(self.description["url"])

    @cached_property
    def engine(self) -> Engine:
        """Engine on the platform's own database."""
        return create_engine(self.environment["CTCLIP_DATABASE_URL"])

    @cached_property
    def http(self) -> httpx.Client:
        """Plain HTTP, as any caller would speak it."""
        return httpx.Client(base_url=self.url, timeout=60)

    def close(self) -> None:
        """Close the connections."""
        self.http.close()
        self.engine.dispose()

    def pid(self, process: str) -> int:
        """Return the process id as it is now: the supervisor may have started the process again."""
        status = run_ctclip("status", "--json", "--state", str(self.state))
        return int(json.loads(status.stdout)["pids"][process])

    def submit(self, study: Path, *, models: str | None = None, reuse: bool = False, **headers: str) -> str:
        """Submit a study, for all models or for some, and return the id of its job.

        Tests share studies, so an earlier answer is taken only where a test wants it.
        """
        params = {"reuse": str(reuse).lower(), **({} if models is None else {"models": models})}
        with study.open("rb") as body:
            answer = self.http.post("/v1/jobs", params=params, files={"file": ("study.zip", body)}, headers=headers)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def list_webhooks(self) -> list[dict[str, Any]]:
        """Return the webhooks that there are."""
        items: list[dict[str, Any]] = self.http.get("/v1/webhooks").raise_for_status().json()["items"]
        return items

    def wait_for_all(self) -> None:
        """Return once nothing is left to do of what other tests submitted."""
        unfinished = text("SELECT count(*) FROM jobs WHERE finished_at IS NULL")

        def is_done() -> bool:
            with self.engine.connect() as connection:
                return not connection.scalar(unfinished)

        wait_until(is_done, "all jobs have ended", JOB_LIMIT_S)

    def fetch_job(self, job_id: str) -> dict[str, Any]:
        """Return the job as callers see it."""
        job: dict[str, Any] = self.http.get(f"/v1/jobs/{job_id}").json()
        return job

    def wait_for_end(self, job_id: str) -> dict[str, Any]:
        """Return the job once it has ended."""
        deadline = time.monotonic() + JOB_LIMIT_S
        while not (job := self.fetch_job(job_id))["finished_at"]:
            assert time.monotonic() < deadline, f"job {job_id} has not ended: {job}"
            time.sleep(0.2)  # looking costs the models their processor
        return job


def run_ctclip(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user would."""
    return subprocess.run(
        [*CTCLIP, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, **environment},
    )


def find_orphans(stack: RunningStack) -> set[str]:
    """Return the objects that no row knows of; there may be no orphan of another kind.

    A worker that another test killed between its object and its row leaves that object to the sweep. Objects are listed
    before rows are read, so there must be no job that writes meanwhile.
    """
    stack.wait_for_all()
    told = json.loads(run_ctclip("reconcile", "--json", "--state", str(stack.state)).stdout)
    assert (told["rows"], told["messages"]) == (0, 0), told
    return set(told["orphans"]["objects"])


@contextmanager
def running_stack(state: Path, **environment: str) -> Iterator[RunningStack]:
    """Start the platform on `state`, and stop it afterwards."""
    from deploy.embedded.state_folder import read_environment  # noqa: PLC0415

    started = run_ctclip("up", "--detach", "--json", "--state", str(state), **environment)
    assert started.returncode == 0, started.stderr + started.stdout
    running = RunningStack(state, json.loads(started.stdout), read_environment(state))
    try:
        yield running
    finally:
        running.close()
        stopped = run_ctclip("down", "--state", str(state))
        assert stopped.returncode == 0, stopped.stderr
