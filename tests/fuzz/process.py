"""`python -m tests.fuzz.process`: the process that fuzzes one target; `tests.fuzz.intake` starts and watches it.

Where atheris is installed, coverage guides what is Python. Everything else is mutated from what did something new.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
import traceback
from contextlib import nullcontext
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from random import Random

from shared.byte_units import GIB, MIB
from tests.fuzz.guided import fuzz_by_coverage, instrument
from tests.fuzz.tally import Recorder
from tests.fuzz.target import PLANS, Plan, Target

MEMORY_BYTES = 3 * GIB
"""Address space of a target in Python; one input must not need more."""

_LONGEST_INPUT = MIB
_MOST_FAILURES = 20


def main() -> None:
    """Fuzz the target that the command line names, or read a single input."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target", choices=PLANS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--replay", type=Path)
    options = parser.parse_args()
    plan = PLANS[options.target]
    is_guided = plan.is_python and options.replay is None and find_spec("atheris") is not None
    _limit(plan)
    # Imported late, so that atheris can instrument the readers.
    with instrument() if is_guided else nullcontext():
        target: Target = import_module(plan.module).TARGETS[options.target]
    with target.open() as read:
        recorder = Recorder(read, options.folder, options.seed, is_python=plan.is_python)
        if options.replay:
            recorder.run(options.replay.read_bytes())
            sys.stdout.write(f"{sorted(recorder.tally.outcomes)}\n")
        elif is_guided:
            fuzz_by_coverage(target, recorder, options.folder, options.seconds, options.seed)
        else:
            fuzz(target, recorder, Random(options.seed), options.seconds)
    sys.exit(min(1, recorder.tally.failures))


def _limit(plan: Plan) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if plan.is_python:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def fuzz(target: Target, recorder: Recorder, random: Random, seconds: float) -> None:
    """Read the seeds, then mutate what did something new, until the time is over or too much failed."""
    corpus = list(target.list_seeds())
    recorder.tally.seeds = len(corpus)
    pending = list(reversed(corpus))
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at and recorder.tally.failures < _MOST_FAILURES:
        content = pending.pop() if pending else target.mutate(random, random.choice(corpus))[:_LONGEST_INPUT]
        try:
            is_new = recorder.run(content)
        except Exception:  # noqa: BLE001  # it is recorded, and the next input may fail in another way
            traceback.print_exc(limit=-4)
            continue
        if is_new:
            corpus.append(content)
        recorder.tally.corpus = len(corpus)
    recorder.write()


if __name__ == "__main__":
    main()
