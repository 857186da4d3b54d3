"""Anomaly maps as NIfTI, DICOM and pictures."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from PIL import Image

from shared.artefacts import ArtefactKind
from shared.json_values import JsonObject
from tests.workers.renderings.iod import find_faults
from tests.workers.renderings.scans import AXIAL, CORONAL, FEET_FIRST, MAKER, SHAPE, make_source
from workers.renderings import make_anomaly_renderings
from workers.renderings.montage import choose_slices, render_montage
from workers.renderings.parametric_map import HU_PER_STEP
from workers.runtime.stage import ProducedArtefact
from workers.volume import Geometry, Volume
from workers.volume.geometry import convert_lps_to_ras
from workers.volume.source import SourceSeries

LOOKED_AT = (2, 5)
REGION: JsonObject = {
    "centre_lps_mm": [-12.5, -20.0, 111.25],
    "extent_lps_mm": [5.0, 6.0, 2.0],
    "mean_hu": 410.0,
    "score": 1.25,
}


@dataclass(frozen=True)
class MapInMemory:
    map_hu: npt.NDArray[np.float16]

    @property
    def shape(self) -> tuple[int, int, int]:
        depth, height, width = self.map_hu.shape
        return depth, height, width

    def read_slices(self, start: int, stop: int) -> npt.NDArray[np.float16]:
        return self.map_hu[start:stop]


def make_map() -> MapInMemory:
    map_hu = np.full(SHAPE, np.nan, np.float16)
    for z in LOOKED_AT:
        map_hu[z, 2:10, 3:14] = np.random.default_rng(z).uniform(0, 900, (8, 11))
    return MapInMemory(map_hu)


def make_volume(geometry: Geometry = AXIAL) -> Volume:
    return Volume(np.random.default_rng(5).integers(-1000, 400, SHAPE).astype(np.int16), geometry)


def render(
    scratch: Path, geometry: Geometry, source: SourceSeries | None, found: MapInMemory | None = None
) -> dict[ArtefactKind, ProducedArtefact]:
    volume, found = make_volume(geometry), found or make_map()
    made = make_anomaly_renderings(found, volume, [REGION], maker=MAKER, source=source, scratch=scratch)
    return {artefact.kind: artefact for artefact in made}


class TestKinds:
    def test_all_are_made_of_a_series(self, tmp_path: Path) -> None:
        made = render(tmp_path, AXIAL, make_source(AXIAL))
        told = {kind: (artefact.media_type, artefact.path.name) for kind, artefact in made.items()}
        assert told == {
            ArtefactKind.ANOMALY_MAP_NIFTI: ("application/gzip", "anomaly_map_nifti.nii.gz"),
            ArtefactKind.ANOMALY_MAP_DICOM: ("application/dicom", "anomaly_map_dicom.dcm"),
            ArtefactKind.ANOMALY_MAP_PREVIEW: ("image/png", "anomaly_map_preview.png"),
        }

    def test_there_is_no_dicom_without_images_to_refer_to(self, tmp_path: Path) -> None:
        assert ArtefactKind.ANOMALY_MAP_DICOM not in render(tmp_path, AXIAL, None)

    def test_there_is_no_dicom_of_a_map_without_slices(self, tmp_path: Path) -> None:
        empty = MapInMemory(np.full(SHAPE, np.nan, np.float16))
        made = render(tmp_path, AXIAL, make_source(AXIAL), empty)
        assert made.keys() == {ArtefactKind.ANOMALY_MAP_NIFTI, ArtefactKind.ANOMALY_MAP_PREVIEW}


class TestNifti:
    @pytest.mark.parametrize("geometry", [AXIAL, FEET_FIRST, CORONAL])
    def test_voxels_and_places_are_those_of_the_map(self, tmp_path: Path, geometry: Geometry) -> None:
        image = nibabel.Nifti1Image.from_filename(render(tmp_path, geometry, None)[ArtefactKind.ANOMALY_MAP_NIFTI].path)
        voxels = np.asarray(image.dataobj).transpose(2, 1, 0)
        assert voxels.dtype == np.float32
        assert np.array_equal(voxels, make_map().map_hu.astype(np.float32), equal_nan=True)
        assert np.allclose(image.affine, convert_lps_to_ras(geometry.compute_affine_lps()), atol=1e-4)


class TestDicom:
    @pytest.mark.parametrize("geometry", [AXIAL, FEET_FIRST, CORONAL])
    def test_frames_lie_on_the_slices_that_were_looked_at(self, tmp_path: Path, geometry: Geometry) -> None:
        source = make_source(geometry)
        read = pydicom.dcmread(render(tmp_path, geometry, source)[ArtefactKind.ANOMALY_MAP_DICOM].path)
        frames = {}
        for item, pixels in zip(read.PerFrameFunctionalGroupsSequence, read.pixel_array, strict=True):
            (image,) = item.DerivationImageSequence[0].SourceImageSequence
            place = [float(value) for value in item.PlanePositionSequence[0].ImagePositionPatient]
            frames[image.ReferencedSOPInstanceUID] = (place, pixels)
        assert frames.keys() == {source.images[z].sop_instance_uid for z in LOOKED_AT}
        for z in LOOKED_AT:
            place, pixels = frames[source.images[z].sop_instance_uid]
            assert place == pytest.approx(source.images[z].position_lps_mm, abs=1e-3)
            expected = np.nan_to_num(make_map().map_hu[z].astype(np.float32))
            assert np.allclose(pixels * HU_PER_STEP, expected, atol=HU_PER_STEP / 2 + 1e-3)

    def test_values_are_hu_and_the_rest_is_what_the_standard_asks_for(self, tmp_path: Path) -> None:
        path = render(tmp_path, AXIAL, make_source(AXIAL))[ArtefactKind.ANOMALY_MAP_DICOM].path
        read = highdicom.imread(path)
        assert find_faults(read) == []
        (mapping,) = read.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
        assert (mapping.MeasurementUnitsCodeSequence[0].CodeValue, mapping.RealWorldValueSlope) == ("[hnsf'U]", 0.1)
        assert read.ContentDescription == "Research use only. Demo weights, trained on phantoms."
        assert read.PatientIdentityRemoved == "YES"
        assert not read.PatientID


class TestMontage:
    def test_the_slices_that_stand_out_come_first_and_are_apart(self) -> None:
        map_hu = np.full((40, 4, 4), np.nan, np.float16)
        map_hu[5:30] = 1
        map_hu[12], map_hu[13] = 9, 8
        chosen = choose_slices(map_hu, 2.0)
        assert chosen == sorted(chosen, reverse=True)
        assert 12 in chosen
        assert len(chosen) == 6
        assert np.diff(chosen).max() <= -4

    @pytest.mark.parametrize("geometry", [AXIAL, FEET_FIRST, CORONAL])
    def test_a_difference_is_seen_where_it_is_in_the_patient(self, geometry: Geometry) -> None:
        """On the left of the patient, in the front: right of the middle and above it."""
        affine = geometry.compute_affine_lps()
        places = np.moveaxis(np.indices(SHAPE)[::-1], 0, -1) @ affine[:3, :3].T + affine[:3, 3]
        middle = places.reshape(-1, 3).mean(axis=0)
        is_there = (places[..., 0] > middle[0] + 3) & (places[..., 1] < middle[1] - 3)
        map_hu = np.where(is_there, 800, 0).astype(np.float16)
        volume = Volume(np.full(SHAPE, -1350, np.int16), geometry)
        pixels = np.asarray(Image.open(io.BytesIO(render_montage(volume, map_hu, [], "caption"))), np.int64)
        panel = pixels[20:280, 320:580]  # the map of the first pair, without its letters
        rows, columns = np.nonzero(panel.max(axis=2) - panel.min(axis=2) > 60)
        assert columns.mean() > 130 > rows.mean()

    def test_regions_are_framed_and_listed(self) -> None:
        volume, map_hu = make_volume(), make_map().map_hu
        framed = np.asarray(Image.open(io.BytesIO(render_montage(volume, map_hu, [REGION], "caption"))))
        plain = np.asarray(Image.open(io.BytesIO(render_montage(volume, map_hu, [], "caption"))))
        is_cyan = (framed == (0, 255, 255)).all(axis=2)
        assert is_cyan.any()
        assert not (plain == (0, 255, 255)).all(axis=2).any()

    def test_a_frame_is_the_box_wherever_the_centre_is(self) -> None:
        """The centre of a region is weighted by difference, so it may lie at an end of its box."""
        box: JsonObject = {"low": [-15.0, -23.0, 110.25], "high": [-10.0, -17.0, 112.25]}
        lopsided: JsonObject = {**REGION, "centre_lps_mm": [-10.5, -22.0, 110.5], "box_lps_mm": box}
        volume, map_hu = make_volume(), make_map().map_hu
        montages = [render_montage(volume, map_hu, [region], "caption") for region in (REGION, lopsided)]
        by_centre, by_box = (np.asarray(Image.open(io.BytesIO(montage))) == (0, 255, 255) for montage in montages)
        assert np.array_equal(by_centre.all(axis=2), by_box.all(axis=2))

    def test_is_made_of_a_map_without_slices(self) -> None:
        empty = np.full(SHAPE, np.nan, np.float16)
        assert render_montage(make_volume(), empty, [], "caption").startswith(b"\x89PNG")
