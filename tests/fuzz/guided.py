"""The seam to atheris (libFuzzer): coverage of our readers decides which inputs are changed further."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from random import Random

from shared.byte_units import GIB, MIB
from tests.fuzz.tally import SLOWEST_S, Recorder
from tests.fuzz.target import Target

_INSTRUMENTED = ["workers.intake"]
_BLIND_SHARE = 0.25
_LONGEST_INPUT = MIB
_RESIDENT_BYTES = 2 * GIB


def instrument() -> AbstractContextManager[object]:
    """Have the modules of intake instrumented that are imported within."""
    hooks: AbstractContextManager[object] = import_module("atheris").instrument_imports(include=_INSTRUMENTED)
    return hooks


def fuzz_by_coverage(target: Target, recorder: Recorder, folder: Path, seconds: float, seed: int) -> None:
    """Fuzz until the time is over or an input fails. Ends the process, with a status above zero for a failure."""
    atheris = import_module("atheris")
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    seeds = target.list_seeds()
    recorder.tally.seeds = len(seeds)
    for number, content in enumerate(seeds):
        (corpus / f"seed-{number:04}").write_bytes(content)

    def read(content: bytes) -> None:
        recorder.run(content, is_guarded=True)

    def mutate(content: bytes, most_bytes: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < _BLIND_SHARE:
            return bytes(atheris.Mutate(content, most_bytes))
        return target.mutate(random, content)[:most_bytes]

    settings = {
        "max_total_time": max(1, int(seconds)),
        "seed": seed,
        "max_len": _LONGEST_INPUT,
        "timeout": int(SLOWEST_S),
        "rss_limit_mb": _RESIDENT_BYTES // MIB,
        "artifact_prefix": f"{folder}/failure-",
        "verbosity": 0,
    }
    flags = [f"-{name}={value}" for name, value in settings.items()]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], read, custom_mutator=mutate)
    atheris.Fuzz()
