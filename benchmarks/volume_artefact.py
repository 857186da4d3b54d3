"""How to keep a volume: plain int16, zstandard chunks and Blosc2 in several ways, beside what `workers.volume` does.

Each way writes and reads the same 300 x 512 x 512 int16 volume, whole and in part, with one thread and with two. The
ways alternate; the fastest of the rounds is printed, with the processor time of writing and of reading the whole, which
a busy machine disturbs less. Files are in the page cache.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import blosc2
import imagecodecs
import numpy as np
import numpy.typing as npt

from benchmarks.intake.source_study import make_phantom, replicate
from workers.volume import Geometry, Volume, VolumeFile, write_volume

Voxels = npt.NDArray[np.int16]
Box = tuple[slice, slice, slice]

GEOMETRY = Geometry((1.2, 0.7, 0.7), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
WHOLE = (slice(None), slice(None), slice(None))
SLICES = (slice(100, 116), slice(None), slice(None))
BOX = (slice(100, 164), slice(200, 328), slice(200, 328))


class Readable(Protocol):
    """A volume on disk."""

    def __getitem__(self, box: Box) -> Voxels:
        """Return the voxels of a box, (z, y, x)."""


class Way(Protocol):
    """One way to keep a volume."""

    def write(self, hu: Voxels, path: Path, threads: int) -> None:
        """Write all voxels."""

    def open(self, path: Path, threads: int) -> Readable:
        """Return what reads them."""


class Plain:
    """The voxels as they are in memory."""

    def write(self, hu: Voxels, path: Path, threads: int) -> None:  # noqa: ARG002
        """Write all voxels."""
        np.save(path.with_suffix(".npy"), hu)
        path.with_suffix(".npy").rename(path)

    def open(self, path: Path, threads: int) -> Readable:  # noqa: ARG002
        """Return what reads them: a copy of what is mapped into memory."""
        mapped = np.load(path, mmap_mode="r")
        return _Getter(lambda box: np.array(mapped[box]))


@dataclass(frozen=True)
class _Getter:
    get: Callable[[Box], Voxels]

    def __getitem__(self, box: Box) -> Voxels:
        return self.get(box)


@dataclass(frozen=True)
class Zstandard:
    """Frames of zstandard, one for every `slices` slices, without a filter."""

    level: int
    slices: int = 16
    lengths: list[int] = field(default_factory=list)

    def write(self, hu: Voxels, path: Path, threads: int) -> None:
        """Write all voxels. The lengths of the frames, which a real format would keep in the file, are kept here."""
        self.lengths[:] = []
        starts = range(0, len(hu), self.slices)
        with ThreadPoolExecutor(threads) as pool, path.open("wb") as file:
            for frame in pool.map(lambda start: self._compress(hu[start : start + self.slices]), starts):
                self.lengths.append(file.write(frame))

    def _compress(self, hu: Voxels) -> bytes:
        return bytes(imagecodecs.zstd_encode(hu.tobytes(), level=self.level))

    def open(self, path: Path, threads: int) -> Readable:
        """Return what reads them."""
        offsets = np.concatenate(([0], np.cumsum(self.lengths)))

        def get(box: Box) -> Voxels:
            depth = box[0].stop or len(self.lengths) * self.slices
            first, last = (box[0].start or 0) // self.slices, -(-depth // self.slices)
            with path.open("rb") as file, ThreadPoolExecutor(threads) as pool:
                file.seek(int(offsets[first]))
                frames = [file.read(length) for length in self.lengths[first:last]]
                content = b"".join(pool.map(imagecodecs.zstd_decode, frames))
            planes = np.frombuffer(content, np.int16).reshape(-1, 512, 512)
            return planes[slice((box[0].start or 0) - first * self.slices, depth - first * self.slices), box[1], box[2]]

        return _Getter(get)


@dataclass(frozen=True)
class Blosc:
    """Blosc2 arrays as the library writes them, in one file."""

    codec: Any
    level: int
    filters: Sequence[Any]
    chunks: tuple[int, int, int] = (16, 512, 512)
    blocks: tuple[int, int, int] | None = None

    def write(self, hu: Voxels, path: Path, threads: int) -> None:
        """Write all voxels."""
        compression = {"codec": self.codec, "clevel": self.level, "filters": list(self.filters), "nthreads": threads}
        where = {"urlpath": str(path), "mode": "w", "contiguous": True}
        blosc2.asarray(hu, chunks=self.chunks, blocks=self.blocks, cparams=compression, **where)

    def open(self, path: Path, threads: int) -> Readable:
        """Return what reads them."""
        array: Readable = blosc2.open(str(path), mode="r", dparams={"nthreads": threads})
        return array


class Ours:
    """`workers.volume`, with the digest of the content."""

    def write(self, hu: Voxels, path: Path, threads: int) -> None:
        """Write all voxels."""
        write_volume(Volume(hu, GEOMETRY), path, threads=threads)

    def open(self, path: Path, threads: int) -> Readable:
        """Return what reads them. It takes as many threads as blosc2 does by default."""
        blosc2.set_nthreads(threads)
        file = VolumeFile(path)
        return _Getter(lambda box: file.read_slices(*box[0].indices(file.shape[0])[:2])[:, box[1], box[2]])


_CODECS, _FILTERS = blosc2.Codec, blosc2.Filter
_BITS, _BYTES = (_FILTERS.BITSHUFFLE,), (_FILTERS.SHUFFLE,)
_SLICE, _BRICK = (1, 512, 512), (16, 64, 64)

WAYS: Mapping[str, Way] = {
    "plain int16": Plain(),
    "zstandard 1": Zstandard(1),
    "zstandard 3": Zstandard(3),
    "blosc2 zstd 1, bits": Blosc(_CODECS.ZSTD, 1, _BITS),
    "blosc2 zstd 1, bits, blocks of a slice": Blosc(_CODECS.ZSTD, 1, _BITS, blocks=_SLICE),
    "blosc2 zstd 1, bytes, blocks of a slice": Blosc(_CODECS.ZSTD, 1, _BYTES, blocks=_SLICE),
    "blosc2 zstd 3, bits, blocks of a slice": Blosc(_CODECS.ZSTD, 3, _BITS, blocks=_SLICE),
    "blosc2 zstd 1, bits, chunks of a slice": Blosc(_CODECS.ZSTD, 1, _BITS, chunks=_SLICE, blocks=_SLICE),
    "blosc2 zstd 1, bits, bricks": Blosc(_CODECS.ZSTD, 1, _BITS, blocks=_BRICK),
    "blosc2 lz4 1, bits, blocks of a slice": Blosc(_CODECS.LZ4, 1, _BITS, blocks=_SLICE),
    "blosc2 lz4 5, bytes, blocks of a slice": Blosc(_CODECS.LZ4, 5, _BYTES, blocks=_SLICE),
    "workers.volume": Ours(),
}


@dataclass(frozen=True)
class Run:
    """Seconds of one round, and the size of the file."""

    write_s: float
    write_cpu_s: float
    read_s: float
    read_cpu_s: float
    slices_s: float
    box_s: float
    size_bytes: int


def main() -> None:
    """Measure every way with one thread and with two."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.volume_artefact", description=__doc__)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--study", type=Path, help="ZIP of a chest CT to be replicated, instead of a phantom")
    arguments = parser.parse_args()
    study = replicate(arguments.study, arguments.slices) if arguments.study else make_phantom(arguments.slices)
    hu = np.ascontiguousarray(study.hu)
    with tempfile.TemporaryDirectory(prefix="ctclip-") as folder:
        for threads in (1, 2):
            print(f"\n{threads} thread{'s'[: threads - 1]}, {hu.nbytes / 1e6:.0f} MB")
            runs = _measure_all(hu, Path(folder) / "volume", threads, arguments.rounds)
            for name, rounds in runs.items():
                print(_describe(name, rounds), flush=True)


def _measure_all(hu: Voxels, path: Path, threads: int, rounds: int) -> Mapping[str, list[Run]]:
    runs: dict[str, list[Run]] = {name: [] for name in WAYS}
    for _ in range(rounds):
        for name, way in WAYS.items():
            runs[name].append(_measure(way, hu, path, threads))
    return runs


def _measure(way: Way, hu: Voxels, path: Path, threads: int) -> Run:
    path.unlink(missing_ok=True)
    write_s, write_cpu_s, _ = _time(lambda: way.write(hu, path, threads))
    file = way.open(path, threads)
    read_s, read_cpu_s, whole = _time(lambda: file[WHOLE])
    slices_s, _, slices = _time(lambda: file[SLICES])
    box_s, _, box = _time(lambda: file[BOX])
    for voxels, where in ((whole, WHOLE), (slices, SLICES), (box, BOX)):
        assert np.array_equal(voxels, hu[where])
    return Run(write_s, write_cpu_s, read_s, read_cpu_s, slices_s, box_s, path.stat().st_size)


def _time(act: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return elapsed seconds, seconds of all processors, and what came back."""
    started, cpu_started = time.perf_counter(), time.process_time()
    value = act()
    return time.perf_counter() - started, time.process_time() - cpu_started, value


def _describe(name: str, rounds: Sequence[Run]) -> str:
    columns = zip(*(_iterate_values(run) for run in rounds), strict=True)
    write_s, write_cpu_s, read_s, read_cpu_s, slices_s, box_s, size = (min(column) for column in columns)
    return (
        f"  {name:<40} write {write_s:5.2f} s (cpu {write_cpu_s:4.2f})   read {read_s:5.2f} s (cpu {read_cpu_s:4.2f})"
        f"   16 slices {slices_s * 1e3:5.1f} ms   box {box_s * 1e3:5.1f} ms   {size / 1e6:6.1f} MB"
    )


def _iterate_values(run: Run) -> Iterator[float]:
    yield from (run.write_s, run.write_cpu_s, run.read_s, run.read_cpu_s, run.slices_s, run.box_s, run.size_bytes)


if __name__ == "__main__":
    main()
