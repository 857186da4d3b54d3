"""What a launcher says about its stack: written to the state folder at every change, read by `status` and `down`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import cast

from deploy.embedded.child import Child, ChildState
from deploy.embedded.processes import ProcessIdentity
from deploy.embedded.state_folder import StateFolder, read_json, write_json
from shared.json_values import JsonObject, JsonValue

LAUNCHER = "launcher"


class StackPhase(StrEnum):
    """Where the stack as a whole stands."""

    STARTING = "starting"
    READY = "ready"
    DEGRADED = "degraded"
    """Was ready; a process is being started again."""
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    """Did not become ready; `failure` says why. Nothing runs."""


@dataclass(frozen=True)
class ProcessReport:
    """One supervised process."""

    identity: ProcessIdentity
    state: ChildState
    restarts: int
    seconds_to_ready: float | None


@dataclass(frozen=True)
class StackReport:
    """The whole stack at one moment."""

    phase: StackPhase
    launcher: ProcessIdentity
    state: str
    url: str | None = None
    flower_url: str | None = None
    failure: str | None = None
    api_key: str | None = field(default=None, repr=False)
    processes: Mapping[str, ProcessReport] = field(default_factory=dict)

    def public(self) -> JsonObject:
        """Return what `--json` prints. `api_key` is null while authentication is off."""
        return {
            "url": self.url,
            "flower_url": self.flower_url,
            "api_key": self.api_key,
            "state": self.state,
            "phase": self.phase,
            "failure": self.failure,
            "pids": {
                **{name: process.identity.pid for name, process in self.processes.items()},
                LAUNCHER: self.launcher.pid,
            },
            "processes": {name: _public_process(process) for name, process in self.processes.items()},
        }


def ignore_report(report: StackReport) -> None:
    """Do nothing: the listener of a caller that looks into the report file instead."""
    del report


def report_children(children: Mapping[str, Child]) -> dict[str, ProcessReport]:
    """Return the reports of all children that were ever started."""
    return {
        name: ProcessReport(child.identity, child.state, child.restarts, child.seconds_to_ready)
        for name, child in children.items()
        if child.identity is not None
    }


def write_report(folder: StateFolder, report: StackReport) -> None:
    """Keep a report in the state folder."""
    write_json(
        folder.report_file,
        {
            **report.public(),
            "started_at": {
                **{name: process.identity.started_at for name, process in report.processes.items()},
                LAUNCHER: report.launcher.started_at,
            },
        },
    )


def read_report(folder: StateFolder) -> StackReport | None:
    """Return the last report of a state folder, or None when there is none that this version understands."""
    kept = read_json(folder.report_file)
    if kept is None:
        return None
    try:
        return _parse(kept)
    except (KeyError, TypeError, ValueError):
        return None


def find_running(folder: StateFolder) -> StackReport | None:
    """Return the report of the launcher that runs in a state folder now, or None."""
    report = read_report(folder)
    return report if report is not None and report.launcher.find() is not None else None


def find_ready(folder: StateFolder) -> StackReport | None:
    """Return the report of the platform that can be used in a state folder now, or None."""
    running = find_running(folder)
    return running if running is not None and running.phase in {StackPhase.READY, StackPhase.DEGRADED} else None


def _public_process(process: ProcessReport) -> JsonObject:
    return {
        "pid": process.identity.pid,
        "state": process.state,
        "restarts": process.restarts,
        "seconds_to_ready": process.seconds_to_ready,
    }


def _parse(kept: JsonObject) -> StackReport:
    started_at = cast("Mapping[str, float]", kept["started_at"])
    pids = cast("Mapping[str, int]", kept["pids"])
    processes = cast("Mapping[str, Mapping[str, JsonValue]]", kept["processes"])
    return StackReport(
        phase=StackPhase(str(kept["phase"])),
        launcher=ProcessIdentity(pids[LAUNCHER], started_at[LAUNCHER]),
        state=str(kept["state"]),
        url=cast("str | None", kept["url"]),
        flower_url=cast("str | None", kept["flower_url"]),
        failure=cast("str | None", kept["failure"]),
        api_key=cast("str | None", kept.get("api_key")),
        processes={
            name: ProcessReport(
                ProcessIdentity(pids[name], started_at[name]),
                ChildState(str(process["state"])),
                cast("int", process["restarts"]),
                cast("float | None", process["seconds_to_ready"]),
            )
            for name, process in processes.items()
        },
    )
