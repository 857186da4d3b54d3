"""Masks as NIfTI and as pictures, and what is made of which study."""

from __future__ import annotations

import io
import json
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydicom.sr._concepts_dict import concepts  # the concepts of PS3.16, as pydicom has them

from shared.artefacts import ArtefactKind
from tests.workers.renderings.scans import AXIAL, CORONAL, FEET_FIRST, MAKER, NAMES, SHAPE, make_labels, make_source
from workers.renderings import make_mask_renderings
from workers.renderings.codes import get_organ_code
from workers.renderings.outlines import render_outlines
from workers.runtime.stage import ProducedArtefact
from workers.segmentation.labels import TOTAL_NAMES
from workers.volume import Geometry, Volume
from workers.volume.geometry import convert_lps_to_ras
from workers.volume.source import SourceSeries


def render(
    scratch: Path, labels: npt.NDArray[np.uint8], source: SourceSeries | None, geometry: Geometry = AXIAL
) -> dict[ArtefactKind, ProducedArtefact]:
    volume = Volume(np.zeros(labels.shape, np.int16), geometry)
    made = make_mask_renderings(labels, volume, NAMES, maker=MAKER, source=source, scratch=scratch)
    return {artefact.kind: artefact for artefact in made}


def open_png(content: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(content)), np.uint8)


class TestKinds:
    def test_all_are_made_of_a_series(self, tmp_path: Path) -> None:
        made = render(tmp_path, make_labels(), make_source(AXIAL))
        told = {kind: (artefact.media_type, artefact.path.name) for kind, artefact in made.items()}
        assert told == {
            ArtefactKind.MASKS_NIFTI: ("application/gzip", "masks_nifti.nii.gz"),
            ArtefactKind.MASKS_DICOM: ("application/dicom", "masks_dicom.dcm"),
            ArtefactKind.MASKS_PREVIEW: ("image/png", "masks_preview.png"),
        }

    def test_there_is_no_dicom_without_images_or_organs(self, tmp_path: Path) -> None:
        assert ArtefactKind.MASKS_DICOM not in render(tmp_path, make_labels(), None)
        assert ArtefactKind.MASKS_DICOM not in render(tmp_path, np.zeros(SHAPE, np.uint8), make_source(AXIAL))


class TestNifti:
    @pytest.mark.parametrize("geometry", [AXIAL, FEET_FIRST, CORONAL])
    def test_voxels_and_places_are_those_of_the_masks(self, tmp_path: Path, geometry: Geometry) -> None:
        image = nibabel.Nifti1Image.from_filename(
            render(tmp_path, make_labels(), None, geometry)[ArtefactKind.MASKS_NIFTI].path
        )
        voxels = np.asarray(image.dataobj).transpose(2, 1, 0)
        assert voxels.dtype == np.uint8
        assert (voxels == make_labels()).all()
        assert np.allclose(image.affine, convert_lps_to_ras(geometry.compute_affine_lps()), atol=1e-4)

    def test_the_header_names_the_organs(self, tmp_path: Path) -> None:
        image = nibabel.Nifti1Image.from_filename(render(tmp_path, make_labels(), None)[ArtefactKind.MASKS_NIFTI].path)
        (extension,) = image.header.extensions
        told = json.loads(extension.get_content())
        assert told["labels"]["51"] == {"name": "heart", "sct": "80891009", "meaning": "Heart", "rgb": [180, 0, 40]}
        assert told["note"] == MAKER.caution

    def test_of_equal_masks_is_equal(self, tmp_path: Path) -> None:
        paths = [tmp_path / name for name in ("one", "two")]
        for path in paths:
            path.mkdir()
            render(path, make_labels(), None)
        first, second = ((path / "masks_nifti.nii.gz").read_bytes() for path in paths)
        assert first == second


class TestOutlines:
    @pytest.mark.parametrize("geometry", [AXIAL, FEET_FIRST, CORONAL])
    def test_an_organ_is_drawn_where_it_is_in_the_patient(self, geometry: Geometry) -> None:
        """On the left of the patient: in the right half of an axial plane."""
        affine = geometry.compute_affine_lps()
        places = np.moveaxis(np.indices(SHAPE)[::-1], 0, -1) @ affine[:3, :3].T + affine[:3, 3]
        left = places[..., 0]
        labels = np.where(left > left.mean() + 1.5, 51, 0).astype(np.uint8)
        pixels = open_png(render_outlines(Volume(np.zeros(SHAPE, np.int16), geometry), labels, NAMES, "caption"))
        rows, columns = np.nonzero((pixels[:380, :380] == (230, 60, 60)).all(axis=2))
        assert len(rows)
        assert columns.min() > 180

    def test_planes_have_true_proportions(self) -> None:
        labels = np.zeros(SHAPE, np.uint8)
        labels[2:7, 3:9, 4:12] = 10  # 10 mm high, 9 mm deep, 10 mm across
        pixels = open_png(render_outlines(Volume(np.zeros(SHAPE, np.int16), AXIAL), labels, NAMES, "caption"))
        coronal = (pixels[380:760, :380] == (230, 60, 60)).all(axis=2)
        rows, columns = np.nonzero(coronal)
        assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=3)

    def test_a_scan_without_organs_is_drawn_too(self) -> None:
        volume = Volume(np.zeros(SHAPE, np.int16), AXIAL)
        assert render_outlines(volume, np.zeros(SHAPE, np.uint8), NAMES, "caption").startswith(b"\x89PNG")


class TestCodes:
    @pytest.mark.parametrize("name", TOTAL_NAMES)
    def test_every_label_has_a_code_and_its_side(self, name: str) -> None:
        code = get_organ_code(name)
        assert code.type.scheme_designator == "SCT"
        told = {modifier.meaning for modifier in (code.modifier, code.region_modifier) if modifier}
        named = {side.capitalize() for side in ("left", "right") if side in name.split("_")}
        # There is one middle lobe, and its code says where.
        assert told == (set() if name == "lung_middle_lobe_right" else named)

    def test_no_code_is_that_of_one_side_by_the_dictionary_of_dicom(self) -> None:
        meanings: dict[str, set[str]] = {}
        dictionary: dict[str, dict[str, tuple[str, list[int]]]] = concepts["SCT"]  # type: ignore[assignment]  # pydicom
        for versions in dictionary.values():
            for value, (meaning, _) in versions.items():
                meanings.setdefault(value, set()).add(meaning.lower())
        for name in TOTAL_NAMES:
            code = get_organ_code(name)
            if code.modifier is not None:
                known = " ".join(meanings.get(code.type.value, ())).split()
                assert not {"left", "right"} & set(known), name
