"""The device of the models: what torch sees, asked in a process of its own, as a broken driver may end it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.doctor.finding import Finding, broken, fine, odd, unknown

_PATIENCE_S = 60.0
_LEAST_FREE_BYTES = 2_000_000_000
_PROMISE = "NVIDIA_VISIBLE_DEVICES"
_NO_DEVICES = frozenset({"", "none", "void"})

_QUESTION = """
import json, torch
said = {"torch": torch.__version__, "cuda_build": torch.version.cuda, "devices": []}
if torch.cuda.is_available():
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        assert torch.ones(8, device=f"cuda:{number}").sum().item() == 8
        said["devices"].append({"name": torch.cuda.get_device_name(number), "free": free, "total": total})
print(json.dumps(said))
"""

COMMAND: Sequence[str] = (sys.executable, "-c", _QUESTION)


@dataclass(frozen=True)
class Surroundings:
    """What shows whether this process may use a GPU.

    Every container of a machine sees the driver's `version`; only one that was given a GPU has `control`.
    """

    version: Path = Path("/proc/driver/nvidia/version")
    control: Path = Path("/dev/nvidiactl")
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @property
    def is_given_a_gpu(self) -> bool:
        """Whether the driver can be spoken to from here."""
        return self.control.exists()

    @property
    def is_meant_for_a_gpu(self) -> bool:
        """Whether this is a container that asks for a GPU, as the image of GPU workers does."""
        return self.environment.get(_PROMISE, "") not in _NO_DEVICES


def look_at_device(command: Sequence[str] = COMMAND, surroundings: Surroundings | None = None) -> Iterator[Finding]:
    """Yield what models that run here would run on; those of other containers are asked there."""
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        yield broken("torch", f"Torch does not come up within {_PATIENCE_S:.0f} s.", "Look at the driver: nvidia-smi.")
        return
    if asked.returncode != 0:
        last = (asked.stderr.strip().splitlines() or ["without a word"])[-1]
        advice = "Install the platform again (make setup), or mend the driver: nvidia-smi, dmesg | grep Xid."
        yield broken("torch", f"Torch cannot be used here (exit {asked.returncode}): {last}", advice)
        return
    said = json.loads(asked.stdout)
    if said["devices"]:
        yield from map(_describe, said["devices"])
    else:
        yield _explain_absence(said, surroundings or Surroundings())


def _explain_absence(said: Mapping[str, Any], surroundings: Surroundings) -> Finding:
    if surroundings.is_given_a_gpu:
        return _judge_torch(said)
    on_cpu = f"models that run here use the CPU (torch {said['torch']})"
    if surroundings.is_meant_for_a_gpu:
        advice = "Look at the machine's container toolkit, and whether the container is lent a GPU."
        return odd("gpu", f"This container asks for a GPU and was given none: {on_cpu}.", advice)
    if surroundings.version.exists():
        told = "The machine has a GPU and this process was not given it; only workers of models need it."
        return unknown("gpu", told, "Ask where models run: docker compose exec worker-mednext ctclip doctor.")
    return fine("gpu", f"No GPU here: {on_cpu}. Those of other machines are asked there.")


def _judge_torch(said: Mapping[str, Any]) -> Finding:
    if said["cuda_build"] is None:
        advice = "Install a build of torch with CUDA, as the GPU image does (deploy/docker)."
        return odd("gpu", f"There is a GPU, but torch {said['torch']} is built for the CPU.", advice)
    advice = "Look at nvidia-smi; the driver must know CUDA of this version."
    return broken(
        "gpu", f"There is a GPU, but torch {said['torch']} (CUDA {said['cuda_build']}) cannot use it.", advice
    )


def _describe(device: Mapping[str, Any]) -> Finding:
    told = f"{device['name']}: {device['free'] / 1e9:.1f} of {device['total'] / 1e9:.1f} GB are free."
    if device["free"] < _LEAST_FREE_BYTES:
        return odd("gpu", told, "Workers that run take it: fine. If none does, end who holds it (nvidia-smi).")
    return fine("gpu", told, free_bytes=device["free"])
