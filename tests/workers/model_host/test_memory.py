"""Memory of stages: admitted by prediction, and predicted as it is measured."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from shared.byte_units import GIB, MIB
from shared.errors import Unanswerable
from workers.model_host.memory import MemoryAmount, MemoryBudget, read_free_memory


def make_budget(free: MemoryAmount, *, freed: MemoryAmount | None = None) -> MemoryBudget:
    """Return a budget on a machine with so much free, or more once idle things are let go."""
    amounts = [free]
    return MemoryBudget(lambda: amounts[-1], release=lambda: amounts.append(freed or free))


@contextmanager
def held(budget: MemoryBudget, need: MemoryAmount) -> Iterator[None]:
    with budget.hold(need) as is_held:
        assert is_held
        yield


class TestAdmission:
    def test_what_fits_is_admitted(self) -> None:
        with make_budget(MemoryAmount(GIB)).hold(MemoryAmount(GIB)) as is_held:
            assert is_held

    @pytest.mark.parametrize("need", [MemoryAmount(GIB + 1), MemoryAmount(0, 1)], ids=["host", "device"])
    def test_what_does_not_fit_is_not(self, need: MemoryAmount) -> None:
        with make_budget(MemoryAmount(GIB)).hold(need) as is_held:
            assert not is_held

    def test_idle_things_are_let_go_before_anything_waits(self) -> None:
        budget = make_budget(MemoryAmount(MIB), freed=MemoryAmount(GIB))
        with budget.hold(MemoryAmount(GIB)) as is_held:
            assert is_held

    def test_what_runs_counts_although_it_has_not_grown_yet(self) -> None:
        budget = make_budget(MemoryAmount(GIB))
        order: list[str] = []

        def run_second() -> None:
            with held(budget, MemoryAmount(GIB // 2 + 1)):
                order.append("second runs")

        second = threading.Thread(target=run_second)
        with held(budget, MemoryAmount(GIB // 2)):
            second.start()
            second.join(0.05)
            order.append("first ends")
        second.join(10)
        assert order == ["first ends", "second runs"]

    def test_both_run_together_where_both_fit(self) -> None:
        budget = make_budget(MemoryAmount(GIB))
        with held(budget, MemoryAmount(GIB // 2)), held(budget, MemoryAmount(GIB // 2)):
            pass


LOAD = """
import numpy as np
from workers.model_host.memory import read_total_memory
before = read_total_memory().host_bytes
model = np.ones(2**28, np.uint8)
print(before - read_total_memory().host_bytes, model.nbytes)
"""


class TestWhatIsPossible:
    def test_is_what_there_is_beside_the_loaded_models(self) -> None:
        # In a process of its own: earlier tests of this one may give memory back meanwhile.
        done = subprocess.run([sys.executable, "-c", LOAD], check=True, timeout=100, capture_output=True)
        taken, held = map(int, done.stdout.split())
        assert taken > held // 2

    def test_is_not_lessened_by_what_a_running_stage_takes(self) -> None:
        totals = iter([GIB, GIB // 2])
        budget = MemoryBudget(lambda: MemoryAmount(GIB), read_total=lambda: MemoryAmount(next(totals)))
        with budget.admit(MemoryAmount(GIB // 4)) as is_held:
            assert is_held
            budget.require_possible(MemoryAmount(GIB))
        with budget.admit(MemoryAmount(GIB + 1)), pytest.raises(Unanswerable):
            budget.require_possible(MemoryAmount(GIB + 1))
        budget.require_possible(MemoryAmount(GIB))

    def test_is_not_judged_while_a_stage_runs(self) -> None:
        totals = iter([10 * GIB, 12 * GIB])
        budget = MemoryBudget(lambda: MemoryAmount(12 * GIB), read_total=lambda: MemoryAmount(next(totals)))
        with budget.admit(MemoryAmount(8 * GIB)), budget.admit(MemoryAmount(11 * GIB)) as is_let_in:
            assert not is_let_in
        with budget.admit(MemoryAmount(11 * GIB)) as is_held:
            assert is_held
            budget.require_possible(MemoryAmount(11 * GIB))


class TestFreeMemory:
    def test_it_is_read_of_this_machine(self) -> None:
        assert 16 * MIB < read_free_memory().host_bytes < 2**50


MEASURE = """
import json, re, sys
from pathlib import Path
import numpy as np, torch
from workers.volume import Geometry, Volume
torch.set_num_threads(1)

def read_status(key):
    return int(re.search(key + r":\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1)) * 1024

def report(predicted, run):
    Path("/proc/self/clear_refs").write_text("5")
    before = read_status("VmRSS")
    run()
    print(json.dumps({"measured": read_status("VmHWM") - before, "predicted": predicted.host_bytes}))

def make_volume(*shape_zyx):
    geometry = Geometry((2.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    return Volume(np.random.default_rng(0).integers(-900, 900, shape_zyx, np.int16), geometry)
"""

MEDNEXT = """
from model_weights.catalogue import load_catalogue
from workers.mednext.predictor import Predictor
entry = next(entry for entry in load_catalogue() if entry.stage == "mednext")
model = Predictor(entry, torch.device("cpu"))
volume = make_volume(160, 256, 256)
def run():
    model.predict(model.prepare(Volume(volume.hu.copy(), volume.geometry)))
report(model.predict_memory(volume.hu.shape), run)
"""

CT_CLIP = """
from workers.ct_clip.configuration import ImageShape, Preprocessing
from workers.ct_clip.image_tower import ImageTower
from workers.ct_clip.memory import predict_memory
from workers.ct_clip.preprocess import prepare
shape = ImageShape(dim=256, codebook_size=256, image_size=240, patch_size=10, spatial_depth=1, temporal_depth=1)
preprocessing = Preprocessing(shape=(100, 240, 240))
tower = ImageTower(shape, 16).eval().requires_grad_(False)
volume = make_volume(150, 256, 256)
def run():
    with torch.inference_mode():
        tower.encode(prepare(Volume(volume.hu.copy(), volume.geometry), preprocessing))
report(predict_memory(shape, preprocessing, torch.device("cpu"), volume.hu.shape), run)
"""

FVLM = """
from workers.fvlm.configuration import ImageShape, Preprocessing
from workers.fvlm.image_tower import ImageTower
from workers.fvlm.memory import predict_memory
from workers.fvlm.organs import Organ, merge_labels
from workers.fvlm.preprocess import cut_windows, orient, prepare_study
shape = ImageShape(depth=2, levels=(0,), dim=192, mlp_dim=768, heads=3)
preprocessing = Preprocessing()
tower = ImageTower(shape, 16).eval().requires_grad_(False)
volume = make_volume(200, 400, 400)
labels = np.zeros(volume.hu.shape, np.uint8)
labels[20:180, 40:360, 60:340] = 10
labels[100:180, 190:200, 200:300] = 51
def run():
    organs = merge_labels(labels.copy(), preprocessing.geometry)
    hu, organs, spacing = orient(Volume(volume.hu.copy(), volume.geometry), organs)
    windows = cut_windows(prepare_study(hu, organs, spacing, preprocessing), preprocessing, shape)
    del hu, organs
    with torch.inference_mode():
        for window in windows:
            tower(window.image, window.token_masks)
report(predict_memory(shape, preprocessing, torch.device("cpu"), volume.hu.shape), run)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
class TestPrediction:
    @pytest.mark.parametrize("model", [MEDNEXT, CT_CLIP, FVLM], ids=["mednext", "ct_clip", "fvlm"])
    def test_it_is_above_what_is_measured_and_not_far(self, model: str) -> None:
        # In a process of its own: the allocator of this one keeps what earlier tests gave back.
        done = subprocess.run([sys.executable, "-c", MEASURE + model], check=True, timeout=500, capture_output=True)
        peaks = json.loads(done.stdout)
        assert peaks["measured"] <= peaks["predicted"] <= 3 * peaks["measured"], peaks
