"""The fuzzer itself: it runs, it keeps what fails, and it tells a contained crash from a failure."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from random import Random

import pytest

from phantom.corpus.files import pack
from phantom.corpus.packings import write_nifti
from tests.fuzz.intake import main
from tests.fuzz.process import fuzz
from tests.fuzz.seeds import make_tiny_chest
from tests.fuzz.tally import Recorder
from tests.fuzz.target import PLANS, Broken, Contained, Target

MUTATIONS_IN_PYTHON, MUTATIONS_IN_CHILDREN = 40, 8


def list_few_seeds() -> Sequence[bytes]:
    """Return a ZIP, a DICOM file and a NIfTI file: each target knows what to do with what is none of its own."""
    chest = make_tiny_chest()
    return [pack(chest.files), chest.files[chest.names[0]], write_nifti(chest.study)]


@pytest.mark.parametrize("name", PLANS)
def test_every_target_runs_for_a_moment_without_a_failure(name: str, tmp_path: Path) -> None:
    plan = PLANS[name]
    target: Target = import_module(plan.module).TARGETS[name]
    seeds, random = list_few_seeds(), Random(1)
    count = MUTATIONS_IN_PYTHON if plan.is_python else MUTATIONS_IN_CHILDREN
    with target.open() as read:
        recorder = Recorder(read, tmp_path, 1, is_python=plan.is_python)
        for content in (*seeds, *(target.mutate(random, random.choice(seeds)) for _ in range(count))):
            recorder.run(content)
    assert len(recorder.tally.outcomes) > 1


class TestFailures:
    def test_an_input_that_breaks_a_promise_is_kept_with_its_seed(self, tmp_path: Path) -> None:
        recorder = run_once(tmp_path, Broken("a promise"))
        assert recorder.tally.failures > 0
        (story,) = tmp_path.glob("failure-*.txt")
        assert "seed 5" in story.read_text()
        assert "a promise" in story.read_text()
        assert story.with_suffix("").read_bytes() == b"input"

    def test_a_contained_crash_is_counted_and_no_failure(self, tmp_path: Path) -> None:
        recorder = run_once(tmp_path, Contained("it was ended by signal 11"))
        assert recorder.tally.failures == 0
        assert recorder.tally.contained["it was ended by signal 11"] > 0
        assert [path.read_bytes() for path in tmp_path.glob("contained-????????????????")] == [b"input"]


def run_once(folder: Path, error: Exception) -> Recorder:
    """Fuzz for a moment a reader that always raises."""

    def read(_content: bytes, _scratch: Path) -> str:
        raise error

    target = Target(lambda: [b"input"], lambda _random, content: content, lambda: nullcontext(read))
    recorder = Recorder(read, folder, 5, is_python=True)
    fuzz(target, recorder, Random(5), 0.05)
    return recorder


class TestCommand:
    def test_one_line_a_target_and_one_for_all(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--target", "nifti", "--minutes", "0.02", "--folder", str(tmp_path)]) == 0
        *_, of_target, of_all = capsys.readouterr().out.splitlines()
        assert of_target.startswith("nifti")
        assert "failures: 0" in of_target
        assert "seed 1, failures: 0" in of_all
