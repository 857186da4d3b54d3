"""The two studies of the demonstration."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from phantom.dicom import write_zip
from phantom.study import PhantomSettings, make_study

REAL_STUDY = Path(__file__).with_name("chest_covid_small.zip")
REAL_TITLE = "Real chest CT"
PHANTOM_SEED = 2024
PHANTOM_FINDING = "pleural_effusion"
PHANTOM_TITLE = f"Phantom with {PHANTOM_FINDING.replace('_', ' ')}"


def write_phantom(path: Path) -> Path:
    """Write a computed chest CT with one finding."""
    write_zip(make_study(PHANTOM_SEED, (PHANTOM_FINDING,), PhantomSettings.standard()), path)
    return path


@contextmanager
def prepared_studies() -> Iterator[Future[dict[str, Path]]]:
    """Yield the studies by title, made beside what the block does; their files go with it."""
    with TemporaryDirectory(prefix="ctclip-demo-") as folder, ThreadPoolExecutor(1) as pool:
        phantom = Path(folder) / "phantom.zip"
        yield pool.submit(lambda: {REAL_TITLE: REAL_STUDY, PHANTOM_TITLE: write_phantom(phantom)})
