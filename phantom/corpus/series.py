"""Several stacks in one study or in one file: row B36, two kernels, enhanced multi-frame."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.uid import EnhancedCTImageStorage

from phantom.corpus.case import Case, accepted, whole
from phantom.corpus.chest import Chest
from phantom.corpus.files import Files, decode, encode, pack, set_instance_uid
from phantom.corpus.geometry import get_position, set_position
from phantom.corpus.syntaxes import read_hu, set_stored

_FEW = 25
"""Slices of a stack that is there beside the chest."""


def copy_instances(chest: Chest, name: str, change: Callable[[Dataset], object], *, count: int | None = None) -> Files:
    """Return copies of the files as instances of their own, changed."""
    copies = Files()
    for number, file in enumerate(chest.names[:count]):
        dataset = decode(chest.files[file])
        uid = f"1.2.826.0.1.3680043.10.{chest.seed}.{sum(name.encode())}.{number}"
        set_instance_uid(dataset, uid)
        change(dataset)
        copies[f"{name}/{number:04}.dcm"] = encode(dataset)
    return copies


def make_multi_frame(chest: Chest) -> bytes:
    """Return the study as one enhanced CT (PS3.3 A.38), its frames out of order."""
    order = np.random.default_rng(chest.seed).permutation(len(chest.names))
    slices = [chest.read(int(index)) for index in order]
    first = slices[0]
    enhanced = Dataset()
    enhanced.file_meta = first.file_meta
    for element in first:
        if element.keyword not in _PER_FRAME:
            enhanced.add(element)
    enhanced.SOPClassUID = enhanced.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    enhanced.NumberOfFrames = len(slices)
    enhanced.SharedFunctionalGroupsSequence = [_make_shared_group(first)]
    enhanced.PerFrameFunctionalGroupsSequence = [_make_frame_group(dataset) for dataset in slices]
    enhanced.PixelData = b"".join(dataset.PixelData for dataset in slices)
    buffer = io.BytesIO()
    dcmwrite(buffer, enhanced, enforce_file_format=True)
    return buffer.getvalue()


_PER_FRAME = {
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "SliceLocation",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "ConvolutionKernel",
    "PixelData",
}


def _make_item(source: Dataset, *keywords: str) -> list[Dataset]:
    item = Dataset()
    for keyword in keywords:
        item.add(source[keyword])
    return [item]


def _make_shared_group(first: Dataset) -> Dataset:
    group = Dataset()
    group.PlaneOrientationSequence = _make_item(first, "ImageOrientationPatient")
    group.PixelMeasuresSequence = _make_item(first, "PixelSpacing", "SliceThickness")
    group.CTReconstructionSequence = _make_item(first, "ConvolutionKernel")
    return group


def _make_frame_group(dataset: Dataset) -> Dataset:
    group = Dataset()
    group.PlanePositionSequence = _make_item(dataset, "ImagePositionPatient")
    group.PixelValueTransformationSequence = _make_item(dataset, "RescaleIntercept", "RescaleSlope", "RescaleType")
    return group


def _be_coronal(dataset: Dataset) -> None:
    x, y, z = get_position(dataset)
    dataset.ImageOrientationPatient = ["1", "0", "0", "0", "0", "-1"]
    set_position(dataset, (x, z, -y))


def _be_half_as_fine(dataset: Dataset) -> None:
    hu = read_hu(dataset)[::2, ::2]
    dataset.Rows, dataset.Columns = hu.shape
    dataset.PixelSpacing = [float(value) * 2 for value in dataset.PixelSpacing]
    set_stored(dataset, hu, intercept=0)


def _be_of_another_kernel(dataset: Dataset) -> None:
    dataset.ConvolutionKernel = "BONE" if dataset.ConvolutionKernel != "BONE" else "LUNG"


def _be_of_another_phase(dataset: Dataset) -> None:
    dataset.AcquisitionNumber = 2


def _be_of_another_series(dataset: Dataset) -> None:
    _be_of_another_kernel(dataset)
    dataset.SeriesInstanceUID = f"{dataset.SeriesInstanceUID}.2"[-64:].lstrip(".0")
    dataset.SeriesNumber = 2


def _add_copies(chest: Chest, change: Callable[[Dataset], object], count: int | None) -> bytes:
    return pack({**chest.files, **copy_instances(chest, "other", change, count=count)})


CASES: tuple[Case, ...] = (
    *(
        Case(
            f"B36-{kind}",
            f"{what} in one series",
            partial(_add_copies, change=change, count=count),
            accepted(study=whole, candidates=2),
        )
        for kind, what, change, count in (
            ("orientation", "Two orientations", _be_coronal, _FEW),
            ("matrix", "Two matrix sizes", _be_half_as_fine, _FEW),
            ("kernel", "Two kernels", _be_of_another_kernel, None),
            ("phase", "Two acquisitions of the same places", _be_of_another_phase, None),
        )
    ),
    Case(
        "G-two-series",
        "Two series of two kernels",
        partial(_add_copies, change=_be_of_another_series, count=None),
        accepted(study=whole, candidates=2),
    ),
    Case(
        "B37-multi-frame",
        "Enhanced multi-frame, its frames out of order",
        lambda chest: pack({"enhanced.dcm": make_multi_frame(chest)}),
        accepted(study=whole),
    ),
)
