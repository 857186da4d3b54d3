"""`python -m tests.fuzz.intake --minutes 30`: fuzz the readers of intake, one target after the other.

    archive   ZIP: directory, local headers, deflate; DICOMDIR                           in Python
    headers   one DICOM file: structure, functional groups, stacks, fragments            in Python
    nifti     NIfTI-1 and NIfTI-2, gzip                                                  in Python
    pixels    slices in every transfer syntax, through the native decoders               in children
    study     whole studies through all of it                                            in children

Inputs begin with the cases of the corpus (`phantom/corpus`) and are changed by structure and by byte. With atheris
(`pip install -e '.[fuzz]'`) coverage guides what is Python; without it, only what an input made the reader say.

A failure is: an exception that is not the reader's own, a hang, memory beyond the limit, a crash of this process, a
bug that a child tells of, a process or a file that is left behind. Its input is kept in the folder; exit status 1.
A child that a native decoder takes down is contained, counted and told; the study would be refused.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.fuzz.target import PLANS

_POLL_S = 0.5
# Making the seeds, one input that hangs, and the end of a nursery.
_PATIENCE_S = 180.0


@dataclass(frozen=True)
class Ended:
    """How the fuzzing of a target ended."""

    target: str
    status: int
    seconds: float
    folder: Path
    tally: Mapping[str, Any]

    @property
    def failures(self) -> int:
        """Failures; a process that ended by itself is one, whatever it counted."""
        return max(int(self.tally.get("failures", 0)), int(self.status != 0))


def main(arguments: list[str] | None = None) -> int:
    """Fuzz, tell, and return the exit status."""
    options = _parse(arguments)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="ctclip-fuzz-"))
    if find_spec("atheris") is None:
        _tell("atheris is not installed (pip install -e '.[fuzz]'): mutating without the guidance of coverage")
    if options.replay:
        return _start(options.target or "study", folder, 0, options.seed, "--replay", str(options.replay)).wait()
    targets = [options.target] if options.target else list(PLANS)
    unit_s = 60 * options.minutes / sum(PLANS[name].share for name in targets)
    ended = [fuzz(name, folder / name, unit_s * PLANS[name].share, options.seed) for name in targets]
    for one in ended:
        _summarize(one)
    failures = sum(one.failures for one in ended)
    executions = sum(one.tally.get("executions", 0) for one in ended)
    minutes = sum(one.seconds for one in ended) / 60
    _tell(f"{executions} executions in {minutes:.1f} minutes, seed {options.seed}, failures: {failures}")
    return min(1, failures)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--minutes", type=float, default=30.0, help="time over all targets, without the making of seeds"
    )
    parser.add_argument("--target", choices=PLANS, help="only this one")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers")
    parser.add_argument("--folder", type=Path, help="where inputs are kept; made under the temporary folder without it")
    parser.add_argument("--replay", type=Path, help="read only this input, and show what it does")
    return parser.parse_args(arguments)


def fuzz(target: str, folder: Path, seconds: float, seed: int) -> Ended:
    """Fuzz one target in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tally.json").unlink(missing_ok=True)
    started = time.monotonic()
    process = _start(target, folder, seconds, seed, log=folder / "log")
    while process.poll() is None:
        time.sleep(_POLL_S)
        elapsed = time.monotonic() - started
        tally = _read_tally(folder)
        if sys.stderr.isatty():
            counts = f"{tally.get('executions', 0)} executions, {tally.get('failures', 0)} failures"
            sys.stderr.write(f"\r{target}: {elapsed:.0f} s, {counts} ")
            sys.stderr.flush()
        if elapsed > seconds + _PATIENCE_S:
            process.kill()
    tally = _read_tally(folder)
    if (folder / "corpus").exists():
        tally["corpus"] = sum(1 for _ in (folder / "corpus").iterdir())
    return Ended(target, process.returncode, time.monotonic() - started, folder, tally)


def _start(
    target: str, folder: Path, seconds: float, seed: int, *more: str, log: Path | None = None
) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "tests.fuzz.process",
        target,
        str(folder),
        f"--seconds={seconds}",
        f"--seed={seed}",
    ]
    if log is None:
        return subprocess.Popen([*command, *more])
    with log.open("wb") as output:
        return subprocess.Popen([*command, *more], stdout=output, stderr=subprocess.STDOUT)


def _read_tally(folder: Path) -> dict[str, Any]:
    path = folder / "tally.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _summarize(ended: Ended) -> None:
    tally = ended.tally
    contained = ", ".join(f"{times} times {reason}" for reason, times in tally.get("contained", {}).items()) or "none"
    _tell(
        f"{ended.target:8}{tally.get('executions', 0):>8} executions in {ended.seconds:.0f} s, "
        f"corpus {tally.get('seeds', 0)} to {tally.get('corpus', 0)}, {tally.get('outcomes', 0)} outcomes, "
        f"slowest {tally.get('slowest_s', 0):.2f} s, crashes contained: {contained}, failures: {ended.failures}"
    )
    if ended.failures:
        _tell(f"        ended with status {ended.status}; log and inputs are in {ended.folder}")


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
