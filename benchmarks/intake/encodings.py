"""The same study as six archives: plain slices in a deflated and in a stored ZIP, compressed ones in stored ZIPs."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from benchmarks.intake.source_study import SourceStudy


@dataclass(frozen=True)
class Encoding:
    """One way to store the slices. `target` is the most that we may need of the best of the others' time."""

    title: str
    target: float
    compress: Callable[[Dataset], None] = lambda _dataset: None
    is_deflated: bool = False


def _compress_jpeg_lossless(dataset: Dataset) -> None:
    """Process 14, selection value 1. pydicom has no encoder for it."""
    stored = np.frombuffer(dataset.PixelData, dtype="<u2").reshape(dataset.Rows, dataset.Columns)
    frame = imagecodecs.jpeg8_encode(stored, lossless=True, predictor=1, bitspersample=dataset.BitsStored)
    dataset.PixelData = encapsulate([bytes(frame)])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1


ENCODINGS: Mapping[str, Encoding] = {
    "deflated": Encoding("uncompressed, deflated ZIP", 0.6, is_deflated=True),
    "stored": Encoding("uncompressed, stored ZIP", 0.6),
    "jpeg-lossless": Encoding("JPEG lossless", 0.6, _compress_jpeg_lossless),
    "jpeg-ls": Encoding("JPEG-LS", 0.6, lambda dataset: dataset.compress(JPEGLSLossless, generate_instance_uid=False)),
    "jpeg-2000": Encoding(
        "JPEG 2000 lossless", 0.65, lambda dataset: dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    ),
    "rle": Encoding("RLE", 1.1, lambda dataset: dataset.compress(RLELossless, generate_instance_uid=False)),
}


def write_archive(study: SourceStudy, encoding: Encoding, path: Path) -> None:
    """Write the study as a ZIP, one file for each slice."""
    method = zipfile.ZIP_DEFLATED if encoding.is_deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as archive:
        for index, dataset in enumerate(study.iterate_slices()):
            encoding.compress(dataset)
            content = BytesIO()
            dcmwrite(content, dataset, enforce_file_format=True)
            archive.writestr(f"DICOM/IM{index:06d}.dcm", content.getvalue())
