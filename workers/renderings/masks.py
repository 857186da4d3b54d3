"""Masks as people use them: NIfTI, one DICOM segmentation, a picture with outlines."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.artefacts import ArtefactKind
from shared.json_values import JsonObject
from workers.renderings.codes import get_organ_code
from workers.renderings.dicom import MEDIA_TYPE as DICOM
from workers.renderings.dicom import Provenance
from workers.renderings.maker import Maker
from workers.renderings.nifti import make_image, write_nifti
from workers.renderings.outlines import render_outlines
from workers.renderings.pictures import PNG
from workers.renderings.segmentation import Organs, Segment, list_segments, write_segmentation
from workers.runtime.stage import ProducedArtefact
from workers.volume import Volume
from workers.volume.label_map import compute_label_digest
from workers.volume.nifti import MEDIA_TYPE as NIFTI
from workers.volume.source import SourceSeries

_INTENT = "label"


def make_mask_renderings(
    labels: npt.NDArray[np.uint8],
    volume: Volume,
    names: Mapping[int, str],
    *,
    maker: Maker,
    source: SourceSeries | None,
    scratch: Path,
) -> tuple[ProducedArtefact, ...]:
    """Write the renderings of a label map, (z, y, x) on the volume's grid, and return them.

    There is no DICOM object where there is no organ, or no image to refer to.
    """
    digest = compute_label_digest(labels, volume.geometry)
    organs = Organs(labels, volume.geometry, list_segments(labels, names), digest)
    nifti = scratch / ArtefactKind.MASKS_NIFTI.file_name
    write_mask_nifti(nifti, organs, maker)
    made = [ProducedArtefact(ArtefactKind.MASKS_NIFTI, nifti, NIFTI)]
    if source is not None and organs.segments:
        dicom = scratch / ArtefactKind.MASKS_DICOM.file_name
        write_segmentation(dicom, organs, Provenance(maker, source, datetime.now(UTC)))
        made.append(ProducedArtefact(ArtefactKind.MASKS_DICOM, dicom, DICOM))
    preview = scratch / ArtefactKind.MASKS_PREVIEW.file_name
    preview.write_bytes(render_outlines(volume, labels, names, f"Organs by {maker.describe()}"))
    return (*made, ProducedArtefact(ArtefactKind.MASKS_PREVIEW, preview, PNG))


def write_mask_nifti(path: Path, organs: Organs, maker: Maker) -> None:
    """Write labels as they are numbered; names, codes and colours stand in the header."""
    depth, height, width = organs.labels.shape
    image = make_image((depth, height, width), np.uint8, organs.geometry)
    image.header.set_intent(_INTENT, name="organs")  # type: ignore[no-untyped-call]  # nibabel
    image.header["descrip"] = maker.caution.encode()
    image.header["cal_max"] = max((segment.label for segment in organs.segments), default=0)
    description: JsonObject = {
        "labels": {str(segment.label): _describe(segment) for segment in organs.segments},
        "made_by": {"name": maker.name, "version": maker.version, "weights": maker.digest},
        "note": maker.caution,
    }
    write_nifti(path, image, organs.labels, description)


def _describe(segment: Segment) -> JsonObject:
    code = get_organ_code(segment.name)
    return {"name": segment.name, "sct": code.type.value, "meaning": code.type.meaning, "rgb": list(code.colour)}
