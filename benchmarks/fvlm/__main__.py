"""fVLM at its published size on the CPU: a plain network beside the one that the stage runs, windows shared beside one
pass for each organ, stored text latents beside the text side at each request.

Weights and window come from a recipe. Each run is a process of its own; the sides alternate. Targets: the image side in
0.7 of the time of the plain one at equal latents, one pass for three organs in 0.4 of three. The time of the processor
is told beside that of the clock: on a machine that others use, it is the steadier one with `--threads 1`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import load_file

from benchmarks.fvlm.material import make_window, read_entry, write_material
from benchmarks.fvlm.plain import PlainImageSide
from model_weights.loading import load_tensors, read_verified
from workers.ct_clip.tokenizer import make_tokenizer
from workers.fvlm.configuration import Architecture
from workers.fvlm.items import list_prompts, load_items
from workers.fvlm.predictor import Predictor
from workers.fvlm.preprocess import Window
from workers.fvlm.published import rename_key
from workers.fvlm.text_encoding import encode_texts
from workers.fvlm.text_latents import load_text_latents
from workers.fvlm.weights import make_text_tower

TIME_TARGET = 0.7
SHARING_TARGET = 0.4
LATENT_TARGET = 3e-6

_WRITE = "write"
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Run:
    """What one process measured: seconds by name, its memory before and at its peak, and the latents it came to."""

    side: str
    seconds: Mapping[str, float]
    resting_mb: float
    peak_mb: float
    latents: list[float] = field(default_factory=list)


def main() -> int:
    """Run every side in turn and print each and the ratios; return 1 when a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fvlm", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=Path, help="keep the weights here, and take them from here again (0.9 GB)")
    parser.add_argument("--side", choices=[*SIDES, _WRITE], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.side == _WRITE:
        write_material(arguments.folder)
        return 0
    if arguments.side:
        print(json.dumps(asdict(SIDES[arguments.side](arguments.folder))))
        return 0
    with tempfile.TemporaryDirectory(prefix="ctclip-benchmark-") as scratch:
        return _run_all(arguments.folder or Path(scratch), arguments.rounds, arguments.threads)


@torch.inference_mode()
def encode_plainly(folder: Path) -> Run:
    """Encode the window with the network as the specification reads, and read the organs from it."""
    weights = load_file(read_entry(folder).get_file("weights").path)
    side = PlainImageSide({rename_key(name): tensor for name, tensor in weights.items()})
    window = make_window()
    levels = side.encode(window.image)  # the first time is for the allocator and the page cache
    resting_mb, clock = _read_memory_mb(), _Clock()
    levels = side.encode(window.image)
    latents = [side.read_organ(levels, organ.row, mask) for organ, mask in window.token_masks.items()]
    seconds = clock.read("encode")
    return Run("plain", seconds, resting_mb, _read_peak_mb(), torch.stack(latents).flatten().tolist())


def encode_as_the_stage(folder: Path) -> Run:
    """Encode the window as the stage does: once for all organs, and once for each."""
    predictor, window = Predictor(read_entry(folder), _CPU), make_window()
    predictor.encode(window)
    resting_mb, clock = _read_memory_mb(), _Clock()
    latents = predictor.encode(window)
    seconds = clock.read("encode")
    peak_mb, clock = _read_peak_mb(), _Clock()
    for organ, mask in window.token_masks.items():
        predictor.encode(Window(window.image, {organ: mask}))
    seconds |= clock.read("encode_each_organ")
    return Run("as the stage", seconds, resting_mb, peak_mb, torch.stack([*latents.values()]).flatten().tolist())


@torch.inference_mode()
def encode_texts_at_each_request(folder: Path) -> Run:
    """Load the text side and encode all sentences in one batch; then one item padded to 384 tokens, as published."""
    entry = read_entry(folder)
    resting_mb, clock = _read_memory_mb(), _Clock()
    encode_texts(entry, list_prompts(load_items(entry)))
    seconds = clock.read("all_trimmed")
    architecture = Architecture()
    tower = make_text_tower(architecture, load_tensors(entry.get_file("text_weights")))
    tokenizer = make_tokenizer(read_verified(entry.get_file("vocabulary")).decode(), architecture.prompt_tokens)
    tokenizer.enable_padding(length=architecture.prompt_tokens)
    pair = tokenizer.encode_batch(list_prompts(load_items(entry))[:2])
    ids, mask = (torch.tensor([getattr(each, name) for each in pair]) for name in ("ids", "attention_mask"))
    clock = _Clock()
    tower(ids, mask)
    seconds |= clock.read("one_item_padded")
    return Run("text side", seconds, resting_mb, _read_peak_mb())


def read_stored_texts(folder: Path) -> Run:
    """Take the latents that the conversion stored."""
    entry = read_entry(folder)
    resting_mb, clock = _read_memory_mb(), _Clock()
    load_text_latents(entry, load_items(entry))
    return Run("stored texts", clock.read("all"), resting_mb, _read_peak_mb())


SIDES: Mapping[str, Callable[[Path], Run]] = {
    "plain": encode_plainly,
    "as the stage": encode_as_the_stage,
    "text side": encode_texts_at_each_request,
    "stored texts": read_stored_texts,
}


class _Clock:
    """Seconds since it was made: of the clock, and of the processor in all threads of this process."""

    def __init__(self) -> None:
        self._started = (time.perf_counter(), time.process_time())

    def read(self, name: str) -> dict[str, float]:
        """Return both."""
        wall, processor = (
            now - then for now, then in zip((time.perf_counter(), time.process_time()), self._started, strict=True)
        )
        return {name: wall, f"{name}_cpu": processor}


def _read_peak_mb() -> float:
    return _read_status_mb("VmHWM")


def _read_memory_mb() -> float:
    """Return the memory in use; the peak begins anew."""
    Path("/proc/self/clear_refs").write_text("5")
    return _read_status_mb("VmRSS")


def _read_status_mb(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith(f"{key}:"))


def _run_all(folder: Path, rounds: int, threads: int) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "catalogue.toml").exists():
        print("writing weights of the published size (0.9 GB)", flush=True)
        _run_module(_WRITE, folder, threads)
    runs = [_run_apart(side, folder, threads) for _ in range(rounds) for side in SIDES]
    return _report(runs)


def _run_module(side: str, folder: Path, threads: int) -> str:
    command = [sys.executable, "-m", "benchmarks.fvlm", "--side", side, "--threads", str(threads)]
    finished = subprocess.run([*command, "--folder", str(folder)], stdout=subprocess.PIPE, text=True, check=True)
    return finished.stdout


def _run_apart(side: str, folder: Path, threads: int) -> Run:
    run = Run(**json.loads(_run_module(side, folder, threads).splitlines()[-1]))
    told = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in run.seconds.items())
    print(f"{run.side:<14} {told}; peak {run.peak_mb:.0f} MB (at rest {run.resting_mb:.0f} MB)", flush=True)
    return run


def _report(runs: Sequence[Run]) -> int:
    ours, plain, texts, stored = (
        [run for run in runs if run.side == side] for side in ("as the stage", "plain", "text side", "stored texts")
    )
    memory = max(run.peak_mb for run in ours) / min(run.peak_mb for run in plain)
    latents = max(abs(a - b) for a, b in zip(ours[0].latents, plain[0].latents, strict=True))
    sharing = median(run.seconds["encode"] / run.seconds["encode_each_organ"] for run in ours)
    kept, asked = _take(stored, "all"), _take(texts, "all_trimmed")
    rows = (
        ("time of the image side beside the plain one", _take(ours, "encode") / _take(plain, "encode"), TIME_TARGET),
        ("the same of the processor", _take(ours, "encode_cpu") / _take(plain, "encode_cpu"), None),
        ("peak memory of the process, weights included, beside the plain one", memory, None),
        ("largest difference of the latents", latents, LATENT_TARGET),
        ("one pass for three organs beside three", sharing, SHARING_TARGET),
        ("stored texts beside the text side, all in one batch", kept / asked, None),
        (
            "stored texts beside 18 items of 384 tokens (1 measured)",
            kept / (18 * _take(texts, "one_item_padded")),
            None,
        ),
    )
    return _tell(rows)


def _take(runs: Sequence[Run], name: str) -> float:
    return median(run.seconds[name] for run in runs)


def _tell(rows: Sequence[tuple[str, float, float | None]]) -> int:
    missed = [name for name, value, target in rows if target is not None and not value <= target]
    for name, value, target in rows:
        aim = "" if target is None else f"   target {target:g}{'   MISSED' if name in missed else ''}"
        print(f"{name:<68} {value:9.3g}{aim}")
    print("a target was MISSED" if missed else "all targets met")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
