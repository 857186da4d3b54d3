"""Volume files: Blosc2 arrays with the geometry and series facts beside the voxels (docs/adr/0008-volume-artefact.md).

Chunks of 16 slices, blocks of one slice, compressed losslessly (zstd after bit shuffling), so a stage can read the
slices that it needs without the rest. The format is Blosc2's contiguous frame: one file, self-describing, no pickle.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import numpy.typing as npt

from shared.errors import Defect
from workers.volume.geometry import Geometry

CHUNK_SLICES = 16
_DESCRIPTION = "ctclip_volume"


@dataclass(frozen=True)
class Volume:
    """A chest CT in memory.

    `hu` is int16 Hounsfield units, (z, y, x), ascending z along the normal.
    `facts` says what is known of the series (kernel, manufacturer, thickness...); nothing of the patient.
    """

    hu: npt.NDArray[np.int16]
    geometry: Geometry
    facts: Mapping[str, Any] = field(default_factory=dict)


def write_volume(volume: Volume, path: Path, *, threads: int = 1) -> str:
    """Write `volume` to one file and return the digest of its content; the bytes do not depend on `threads`."""
    blosc2.set_releasegil(True)  # else the threads would wait for each other
    depth, height, width = volume.hu.shape
    array = blosc2.empty(
        (depth, height, width),
        dtype=np.int16,
        chunks=(min(CHUNK_SLICES, depth), height, width),
        blocks=(1, height, width),
        urlpath=str(path),
        mode="w",
        contiguous=True,
        cparams=_choose_compression(),
    )
    slice_digests = []
    for number, (chunk, digests) in enumerate(_compress_chunks(volume.hu, threads)):
        array.schunk.update_chunk(number, chunk)
        slice_digests += digests
    digest = _combine_digests(volume.geometry, volume.hu.shape, slice_digests)
    description = {"geometry": volume.geometry.to_document(), "facts": dict(volume.facts), "content_sha256": digest}
    array.schunk.vlmeta[_DESCRIPTION] = json.dumps(description)
    return digest


def compute_content_digest(volume: Volume) -> str:
    """Return the SHA-256 that stands for voxels and geometry: the same whatever library, codec or machine wrote them.

    It covers one line of JSON (the geometry and the shape, keys sorted) and behind it the SHA-256 of each slice as
    little-endian int16.
    """
    return _combine_digests(volume.geometry, volume.hu.shape, _digest_slices(volume.hu))


def _choose_compression() -> dict[str, Any]:
    """Return the settings. One thread inside a chunk: several store its blocks as they get ready, in any order."""
    return {"codec": blosc2.Codec.ZSTD, "clevel": 1, "filters": [blosc2.Filter.BITSHUFFLE], "nthreads": 1}


def _compress_chunks(hu: npt.NDArray[np.int16], threads: int) -> Iterator[tuple[bytes, list[bytes]]]:
    """Yield the chunks in their order, each with the digests of its slices; only `threads` of them are held at once."""
    starts = range(0, len(hu), CHUNK_SLICES)
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, len(starts), threads):
            yield from pool.map(lambda start: _compress(hu, start), starts[first : first + threads])


def _compress(hu: npt.NDArray[np.int16], start: int) -> tuple[bytes, list[bytes]]:
    slices = np.ascontiguousarray(hu[start : start + CHUNK_SLICES], dtype="<i2")
    lacking = min(CHUNK_SLICES, len(hu)) - len(slices)
    whole = np.pad(slices, ((0, lacking), (0, 0), (0, 0))) if lacking else slices  # Blosc2's chunks are all of one size
    chunk = blosc2.compress2(whole, typesize=slices.itemsize, blocksize=slices[0].nbytes, **_choose_compression())
    return chunk, _digest_slices(slices)


def _digest_slices(hu: npt.NDArray[np.int16]) -> list[bytes]:
    return [hashlib.sha256(np.ascontiguousarray(plane, dtype="<i2").data).digest() for plane in hu]


def _combine_digests(geometry: Geometry, shape: Sequence[int], slice_digests: Sequence[bytes]) -> str:
    head = json.dumps({"geometry": geometry.to_document(), "shape_zyx": list(shape)}, sort_keys=True)
    return hashlib.sha256(b"\n".join((head.encode(), b"".join(slice_digests)))).hexdigest()


class VolumeFile:
    """A volume on disk, opened for reading; slices are decompressed when asked for.

    `content_digest` is what `compute_content_digest` gives for what was written; None in files of earlier versions.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._array = blosc2.open(str(path), mode="r")
            description = json.loads(self._array.schunk.vlmeta[_DESCRIPTION])
        except (RuntimeError, KeyError, ValueError) as error:
            raise Defect("volume artefact cannot be read") from error
        self.geometry = Geometry.from_document(description["geometry"])
        self.facts: Mapping[str, Any] = description["facts"]
        self.content_digest: str | None = description.get("content_sha256")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along (z, y, x)."""
        depth, height, width = self._array.shape
        return (depth, height, width)

    def read_slices(self, start: int, stop: int) -> npt.NDArray[np.int16]:
        """Return slices start..stop of the volume, (z, y, x) int16 HU."""
        return np.asarray(self._array[start:stop], dtype=np.int16)

    def read(self) -> Volume:
        """Return the whole volume."""
        return Volume(self.read_slices(0, self.shape[0]), self.geometry, self.facts)
