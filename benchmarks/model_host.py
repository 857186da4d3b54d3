"""Two models of one worker process over several studies: with what the host shares between them, and without.

Without it each stage prepares its own input and both networks run at once. The networks are image towers of few
layers with random weights, the input has CT-CLIP's published size, and two threads run the stages, as in a worker.
Each run is a process of its own, so that its peak memory is its own; the ways alternate.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import cast

import torch
from torch import Tensor

from model_weights.catalogue import ModelEntry
from phantom.study import PhantomSettings, make_study
from shared.artefacts import ArtefactKind
from shared.settings import WeightsProfile
from shared.stages import StageName
from workers.ct_clip.configuration import ImageShape, Preprocessing
from workers.ct_clip.image_tower import ImageTower
from workers.ct_clip.memory import predict_memory
from workers.ct_clip.preprocess import prepare
from workers.model_host.host import ModelHost
from workers.model_host.memory import MemoryAmount
from workers.model_stage import Answer, ModelStage, Question
from workers.runtime.stage import StageContext
from workers.volume import Geometry, Volume, write_volume

WAYS = ("apart", "together")
STAGES = (StageName.CT_CLIP, StageName.SUPERVISED)
_WORKER_THREADS = 2


@dataclass(frozen=True)
class Run:
    """All studies through both stages, once. `cpu_seconds`, of all threads, depend less on what else runs."""

    way: str
    seconds: float
    cpu_seconds: float
    peak_mb: float


class Tower:
    """An image tower as a model of a stage."""

    def __init__(self) -> None:
        self.preprocessing = Preprocessing()
        self._shape = ImageShape(dim=256, spatial_depth=2, temporal_depth=2)
        self._tower = ImageTower(self._shape, 64).eval().requires_grad_(requires_grad=False)

    def predict_memory(self, shape_zyx: tuple[int, int, int]) -> MemoryAmount:
        """Return what a study takes."""
        return predict_memory(self._shape, self.preprocessing, torch.device("cpu"), shape_zyx)

    def prepare(self, volume: Volume) -> Tensor:
        """Return the network's input."""
        return prepare(volume, self.preprocessing)

    @torch.inference_mode()
    def answer(self, prepared: Tensor, _question: Question) -> Answer:
        """Return one number of the latent."""
        return Answer([float(self._tower(prepared)[0, 0])])


@dataclass
class StudyContext:
    """What a stage asks of the runtime, on a folder."""

    scratch: Path
    policy: dict[str, object]

    def fetch_artefact(self, kind: ArtefactKind) -> Path:
        """Return the volume."""
        return self.scratch / kind

    def report(self, progress: float) -> None:
        """Tell nobody."""


def main() -> int:
    """Run both ways in turn; print each and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="runs of each way")
    parser.add_argument("--studies", type=int, default=4)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(asdict(measure(arguments.way, arguments.studies, arguments.threads))))
        return 0
    runs = [_run_apart(way, arguments) for _ in range(arguments.rounds) for way in WAYS]
    apart, together = ([run for run in runs if run.way == way] for way in WAYS)
    print(f"time ratio    {median(r.seconds for r in together) / median(r.seconds for r in apart):7.3f}")
    print(f"CPU ratio     {median(r.cpu_seconds for r in together) / median(r.cpu_seconds for r in apart):7.3f}")
    print(f"memory ratio  {max(r.peak_mb for r in together) / max(r.peak_mb for r in apart):7.3f}")
    return 0


def measure(way: str, studies: int, threads: int) -> Run:
    """Run all studies through both stages, in this process."""
    torch.set_num_threads(threads)
    host = ModelHost()
    stages = [_make_stage(name, host if way == "together" else ModelHost()) for name in STAGES]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(_WORKER_THREADS) as pool:
        contexts = [_write_study(seed, Path(folder)) for seed in range(studies)]
        started, cpu_started = time.perf_counter(), time.process_time()
        list(pool.map(lambda work: work[1].run(work[0]), [(each, stage) for each in contexts for stage in stages]))
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    return Run(way, seconds, cpu_seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)


def _make_stage(name: StageName, host: ModelHost) -> ModelStage:
    entry = ModelEntry(
        name="tower", stage=name, version="1", weights_profile=WeightsProfile.DEMO, architecture={}, preprocessing={},
        labels=("latent",), thresholds={}, files={}, origin="", licence="", card=None,
    )  # fmt: skip
    return ModelStage(entry, Tower(), lambda labels, values: dict(zip(labels, values, strict=True)), host)


def _write_study(seed: int, parent: Path) -> StageContext:
    folder = parent / str(seed)
    folder.mkdir()
    study = make_study(seed, (), PhantomSettings.coarse())
    geometry = Geometry(study.spacing_zyx_mm, study.origin_lps_mm, (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    write_volume(Volume(study.hu, geometry), folder / ArtefactKind.VOLUME)
    return cast("StageContext", StudyContext(folder, {}))


def _run_apart(way: str, arguments: argparse.Namespace) -> Run:
    given: Sequence[object] = ("--way", way, "--studies", arguments.studies, "--threads", arguments.threads)
    command = [sys.executable, "-m", "benchmarks.model_host", *map(str, given)]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    run = Run(**json.loads(finished.stdout.splitlines()[-1]))
    print(
        f"{run.way:<10} {run.seconds:7.2f} s   {run.cpu_seconds:7.2f} s of CPU   peak {run.peak_mb:6.0f} MB", flush=True
    )
    return run


if __name__ == "__main__":
    raise SystemExit(main())
