"""Latents of a site's own texts on this machine's disk: by key, verified when read, replaced whole.

Any number of processes may share the folder. Whatever cannot be read is as good as absent: it is computed again.
"""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

MOST_FILES = 64
"""Old ones beyond are removed; a file has a quarter of a megabyte at most (64 findings at full size)."""


class LatentCache:
    """A folder of files `<key>.safetensors`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, key: bytes) -> Tensor | None:
        """Return latents (texts, dim_latent) as they were kept under this key, or None."""
        try:
            stored = load(self._locate(key).read_bytes())
        except (OSError, SafetensorError):
            return None
        if set(stored) != {"latents", "digest"} or bytes(stored["digest"].tolist()) != _digest(key, stored["latents"]):
            return None
        return stored["latents"]

    def write(self, key: bytes, latents: Tensor) -> None:
        """Keep latents under a key. Raises OSError when the disk does not take them."""
        digest = torch.tensor(list(_digest(key, latents)), dtype=torch.uint8)
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as partial:
            try:
                partial.write(save({"latents": latents.contiguous(), "digest": digest}))
                partial.flush()  # a reader must never meet half a file under the final name
                Path(partial.name).replace(self._locate(key))
            except BaseException:
                Path(partial.name).unlink(missing_ok=True)
                raise
        self._remove_old()

    def _locate(self, key: bytes) -> Path:
        return self._folder / f"{key.hex()}.safetensors"

    def _remove_old(self) -> None:
        with suppress(FileNotFoundError):  # another process removes as well
            kept = sorted(self._folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime, reverse=True)
            for path in kept[MOST_FILES:]:
                path.unlink(missing_ok=True)


def _digest(key: bytes, latents: Tensor) -> bytes:
    values = latents.detach().cpu().contiguous()
    described = f"{values.dtype} {tuple(values.shape)}".encode()
    return hashlib.sha256(key + described + values.numpy().tobytes()).digest()
