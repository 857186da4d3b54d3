"""From a ZIP on disk to an array of HU in memory: dicom2nifti, a pydicom loop, SimpleITK, dcm2niix and ours.

All read the same study in six encodings. Each reading is a process of its own that has imported its libraries when the
clock starts; the contenders alternate, and medians are compared. The ZIP is in the page cache. What cannot read a ZIP
finds it unpacked on a RAM disk, and what writes a file writes it there, both inside the clock. `ours` is `read_study`
in one process, `stage` the same in the stage's child, which writes the volume to disk, and `preflight` reads headers
only. What ours does with the volume once it is there (lungs, statistics) is told, and left out beside the others.
Returns 1 when a target is missed or a contender's voxels differ.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.intake.contenders.measuring import Measurement
from benchmarks.intake.encodings import ENCODINGS, write_archive
from benchmarks.intake.report import Comparison, print_comparisons
from benchmarks.intake.source_study import SourceStudy, make_phantom, replicate

CONTENDERS = {
    "dicom2nifti": "dicom2nifti_package",
    "pydicom": "pydicom_loop",
    "SimpleITK": "simpleitk_series",
    "dcm2niix": "dcm2niix_tool",
    "ours": "ours",
    "stage": "ours_stage",
    "preflight": "ours_preflight",
}


def main() -> int:
    """Write the archives, let every contender read them, print the comparison."""
    arguments = _parse_arguments()
    with _open_folder(arguments.folder) as folder:
        archives = _write_archives(arguments, folder)
        comparisons = [
            Comparison(ENCODINGS[name], path.stat().st_size / 1e6, arguments.slices * 512 * 512 * 2 / 1e6)
            for name, path in archives.items()
        ]
        for _ in range(arguments.rounds):
            for comparison, path in zip(comparisons, archives.values(), strict=True):
                for contender in arguments.contenders:
                    comparison.add(contender, _read_apart(contender, path))
    if not arguments.rounds:
        return 0
    if arguments.json:
        print(json.dumps([comparison.describe() for comparison in comparisons]))
    else:
        print_comparisons(comparisons)
    return 0 if all(comparison.is_met for comparison in comparisons) else 1


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.intake", description=__doc__)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3, help="readings of each contender; 0 only writes the archives")
    parser.add_argument("--encodings", nargs="+", choices=ENCODINGS, default=list(ENCODINGS))
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--study", type=Path, help="ZIP of a chest CT to be replicated, instead of a phantom")
    parser.add_argument("--folder", type=Path, help="where the archives are kept and found again")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


@contextmanager
def _open_folder(folder: Path | None) -> Iterator[Path]:
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="ctclip-") as made:
            yield Path(made)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


def _write_archives(arguments: argparse.Namespace, folder: Path) -> dict[str, Path]:
    origin = "phantom" if arguments.study is None else arguments.study.stem
    paths = {name: folder / f"{origin}-{arguments.slices}-{name}.zip" for name in arguments.encodings}
    study = None
    for name, path in paths.items():
        if path.exists():
            continue
        print(f"writing {path.name}", file=sys.stderr)
        study = study or _make_study(arguments)
        partial = path.with_suffix(".partial")
        write_archive(study, ENCODINGS[name], partial)
        partial.rename(path)
    return paths


def _make_study(arguments: argparse.Namespace) -> SourceStudy:
    return make_phantom(arguments.slices) if arguments.study is None else replicate(arguments.study, arguments.slices)


def _read_apart(contender: str, study: Path) -> Measurement:
    command = [sys.executable, "-m", f"benchmarks.intake.contenders.{CONTENDERS[contender]}", str(study)]
    study.read_bytes()  # into the page cache
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    measurement = Measurement(**json.loads(finished.stdout.splitlines()[-1]))
    print(f"{study.stem:<28} {contender:<12} {measurement.seconds:6.2f} s", file=sys.stderr)
    return measurement


if __name__ == "__main__":
    raise SystemExit(main())
