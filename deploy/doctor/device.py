"""The device of the models: what torch sees, asked in a process of its own, as a broken driver may end it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy.doctor.finding import Finding, broken, fine, odd

_PATIENCE_S = 60.0
_LEAST_FREE_BYTES = 2_000_000_000
_DRIVER_FILES = (Path("/proc/driver/nvidia/version"), Path("/dev/nvidiactl"))

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


def look_at_device(command: Sequence[str] = COMMAND, driver_files: Sequence[Path] = _DRIVER_FILES) -> Iterator[Finding]:
    """Yield what the models would run on."""
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
    has_driver = any(path.exists() for path in driver_files)
    yield from _judge(json.loads(asked.stdout), has_driver)


def _judge(said: Mapping[str, Any], has_driver: bool) -> Iterator[Finding]:
    devices = said["devices"]
    if devices:
        yield from map(_describe, devices)
    elif not has_driver:
        yield fine("gpu", f"No GPU here: models run on the CPU (torch {said['torch']}).")
    elif said["cuda_build"] is None:
        advice = "Install a build of torch with CUDA, as the GPU image does (deploy/docker)."
        yield odd("gpu", f"There is a GPU, but torch {said['torch']} is built for the CPU.", advice)
    else:
        advice = "Look at nvidia-smi; in a container, give it the GPU; the driver must know CUDA of this version."
        told = f"There is a GPU, but torch {said['torch']} (CUDA {said['cuda_build']}) cannot use it."
        yield broken("gpu", told, advice)


def _describe(device: Mapping[str, Any]) -> Finding:
    told = f"{device['name']}: {device['free'] / 1e9:.1f} of {device['total'] / 1e9:.1f} GB are free."
    if device["free"] < _LEAST_FREE_BYTES:
        return odd("gpu", told, "Workers that run take it: fine. If none does, end who holds it (nvidia-smi).")
    return fine("gpu", told, free_bytes=device["free"])
