"""What is told of the images of a volume."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage

from phantom.corpus.chest import SMALL, Chest
from phantom.corpus.series import make_multi_frame
from tests.hostile.packing import pack, read, unpack
from tests.workers.intake.images import make_image
from workers.intake.dicom.header import Image
from workers.intake.origin import describe_source
from workers.volume.source import read_source, write_source


def make_images(count: int = 3, **changes: str) -> list[Image]:
    images = []
    for index in range(count):
        image = make_image(2.0 * index, instance_uid=f"1.5.{index}")
        identity = replace(image.identity, **{"sop_class_uid": CTImageStorage, **changes})  # type: ignore[arg-type]  # UIDs only
        images.append(replace(image, ordinal=index, identity=identity))
    return images


class TestSource:
    def test_is_that_of_the_files(self, phantom_zip: Path, tmp_path: Path) -> None:
        source = read(phantom_zip.read_bytes(), tmp_path).source
        assert source is not None
        datasets = [
            pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True) for content in unpack(phantom_zip).values()
        ]
        files = {dataset.SOPInstanceUID: dataset for dataset in datasets}
        assert {image.sop_instance_uid for image in source.images} == files.keys()
        for image in source.images:
            dataset = files[image.sop_instance_uid]
            assert image.position_lps_mm == tuple(dataset.ImagePositionPatient)
            uids = (source.study_uid, source.series_uid, source.frame_of_reference_uid, source.sop_class_uid)
            told = (
                dataset.StudyInstanceUID,
                dataset.SeriesInstanceUID,
                dataset.FrameOfReferenceUID,
                dataset.SOPClassUID,
            )
            assert uids == told

    def test_slice_i_of_the_volume_is_image_i(self, phantom_zip: Path, tmp_path: Path) -> None:
        study = read(phantom_zip.read_bytes(), tmp_path)
        assert study.source is not None
        assert study.volume is not None
        affine = study.volume.geometry.compute_affine_lps()
        for z, image in enumerate(study.source.images):
            assert np.allclose(affine @ (0, 0, z, 1), (*image.position_lps_mm, 1), atol=1e-3)

    def test_frames_are_counted_from_one(self, tmp_path: Path) -> None:
        source = read(pack({"enhanced.dcm": make_multi_frame(Chest(7, SMALL))}), tmp_path).source
        assert source is not None
        assert source.sop_class_uid == EnhancedCTImageStorage
        assert {image.frame for image in source.images} == set(range(1, len(source.images) + 1))
        assert len({image.sop_instance_uid for image in source.images}) == 1

    def test_is_read_as_it_was_written(self, tmp_path: Path) -> None:
        source = describe_source(make_images())
        assert source is not None
        write_source(tmp_path / "source.json", source)
        assert read_source(tmp_path / "source.json") == source

    def test_leaves_out_what_could_not_be_read(self) -> None:
        images = make_images()
        source = describe_source(images, [images[1]])
        assert source is not None
        assert [image.sop_instance_uid for image in source.images] == ["1.5.0", "1.5.2"]

    @pytest.mark.parametrize(
        "name", ["study_uid", "series_uid", "frame_of_reference_uid", "instance_uid", "sop_class_uid"]
    )
    @pytest.mark.parametrize("uid", ["", "1.02.3", "patient^JANE", "1." * 40 + "1"])
    def test_is_not_told_where_a_uid_is_none(self, name: str, uid: str) -> None:
        assert describe_source(make_images(1, **{name: uid})) is None

    def test_is_not_told_of_instances_that_share_a_uid(self) -> None:
        assert describe_source(make_images(2, instance_uid="1.5")) is None

    def test_is_not_told_of_frames_of_several_instances(self) -> None:
        assert describe_source(make_images(2, sop_class_uid=EnhancedCTImageStorage)) is None
