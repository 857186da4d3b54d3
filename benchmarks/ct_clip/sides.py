"""One measurement of one side, each in a process of its own, so that its peak memory is its own."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.ct_clip.material import IMAGE, Material
from benchmarks.ct_clip.straightforward import ImageTower as StraightforwardTower
from model_weights.loading import load_tensors, verified_by_the_end
from workers.ct_clip.configuration import Architecture
from workers.ct_clip.known_answer import make_question
from workers.ct_clip.loading import make_image_tower

_ONE, _ALL = 1, 55
_REPETITIONS = 200


@dataclass(frozen=True)
class Run:
    """What one process measured: seconds by name, its peak memory, and the codes and latent it came to."""

    side: str
    seconds: Mapping[str, float]
    peak_mb: float
    codes: list[int] = field(default_factory=list)
    latents: list[float] = field(default_factory=list)


@torch.inference_mode()
def encode_straightforwardly(material: Material) -> Run:
    """Encode the volume with the network as the specification reads."""
    architecture = Architecture()
    tower = StraightforwardTower(architecture.image, architecture.dim_latent).eval()
    tensors = load_file(material.weights)
    tower.load_state_dict({name.removeprefix(IMAGE): tensor for name, tensor in tensors.items()})
    volume = load_file(material.volume)["volume"]
    started = time.perf_counter()
    codes, latents = tower(volume)
    seconds = time.perf_counter() - started
    return _make_run("straightforward", {"encode": seconds}, codes, latents)


@torch.inference_mode()
def encode_as_the_stage(material: Material) -> Run:
    """Encode the volume as the stage does, and score one label and all of them."""
    tower = make_image_tower(Architecture(), load_tensors(material.pin_weights()))
    volume = load_file(material.volume)["volume"]
    started = time.perf_counter()
    encoding = tower.encode(volume)
    seconds = {"encode": time.perf_counter() - started}
    seconds |= {f"score_{count}": _time_scoring(encoding.latents, count) for count in (_ONE, _ALL)}
    return _make_run("as the stage", seconds, encoding.codes, encoding.latents)


def load_with_torch(material: Material) -> Run:
    """Read the published checkpoint with `torch.load`; nothing is built of it yet."""
    started = time.perf_counter()
    torch.load(material.checkpoint, map_location="cpu", weights_only=True)
    return _make_run("torch.load", {"load": time.perf_counter() - started})


def load_mapped(material: Material) -> Run:
    """Map the weights and build the network, without looking at the digest."""
    started = time.perf_counter()
    make_image_tower(Architecture(), load_file(material.weights))
    return _make_run("mapped", {"load": time.perf_counter() - started})


@torch.inference_mode()
def load_verified(material: Material) -> Run:
    """Map the weights, build the network and warm it up while the digest is computed: what a worker waits for."""
    architecture = Architecture()
    started = time.perf_counter()
    with verified_by_the_end():
        tower = make_image_tower(architecture, load_tensors(material.pin_weights()))
        built = time.perf_counter()
        tower.encoder(make_question(architecture.image))
        warm = time.perf_counter()
    ready = time.perf_counter()
    return _make_run("verified", {"load": built - started, "warm": warm - started, "ready": ready - started})


SIDES: Mapping[str, Callable[[Material], Run]] = {
    "straightforward": encode_straightforwardly,
    "as the stage": encode_as_the_stage,
    "torch.load": load_with_torch,
    "mapped": load_mapped,
    "verified": load_verified,
}


def _time_scoring(latents: Tensor, labels: int) -> float:
    axes = torch.rand(labels, latents.shape[1])
    (latents @ axes.t()).sigmoid().tolist()
    started = time.perf_counter()
    for _ in range(_REPETITIONS):
        (latents @ axes.t()).sigmoid().tolist()
    return (time.perf_counter() - started) / _REPETITIONS


def _make_run(side: str, seconds: Mapping[str, float], *found: Tensor) -> Run:
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return Run(side, seconds, peak_mb, *(tensor.flatten().tolist() for tensor in found))
