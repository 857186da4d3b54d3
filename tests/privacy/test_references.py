"""What refers to the images of a marked study holds their UIDs and nothing else of it; a volume not even these."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest

from shared.artefacts import ArtefactKind
from tests.hostile.packing import read, unpack
from tests.privacy.identity import KNOWN_UID_MARK, MARK, NAME_MARK, UID_MARK, mark_files, pack
from tests.privacy.marks import find_marks
from tests.workers.renderings.scans import MAKER, NAMES
from workers.intake.study import StudyRead
from workers.renderings import make_mask_renderings
from workers.volume.source import write_source

UIDS = (UID_MARK, KNOWN_UID_MARK)
WORDS = (MARK, NAME_MARK)


@pytest.fixture(scope="module")
def study(phantom_zip: Path, tmp_path_factory: pytest.TempPathFactory) -> StudyRead:
    return read(pack(mark_files(unpack(phantom_zip), "4711")), tmp_path_factory.mktemp("scratch"))


class TestSourceSeries:
    def test_holds_uids_and_no_words(self, study: StudyRead, tmp_path: Path) -> None:
        assert study.source is not None
        write_source(tmp_path / "source.json", study.source)
        content = (tmp_path / "source.json").read_bytes()
        assert find_marks(content, *UIDS)
        assert not find_marks(content, *WORDS)

    def test_is_not_in_the_volume(self, study: StudyRead) -> None:
        assert study.volume is not None
        assert not find_marks(json.dumps(dict(study.volume.facts)).encode(), *UIDS, *WORDS)


class TestMasks:
    def test_refer_in_dicom_alone(self, study: StudyRead, tmp_path: Path) -> None:
        assert study.volume is not None
        labels = np.zeros(study.volume.hu.shape, np.uint8)
        labels[20:24, 100:110, 100:110] = 51
        made = make_mask_renderings(labels, study.volume, NAMES, maker=MAKER, source=study.source, scratch=tmp_path)
        for artefact in made:
            content = artefact.path.read_bytes()
            if artefact.kind is ArtefactKind.MASKS_DICOM:
                content = str(pydicom.dcmread(artefact.path)).encode()
            elif artefact.kind is ArtefactKind.MASKS_NIFTI:
                content = gzip.decompress(content)
            assert bool(find_marks(content, *UIDS)) == artefact.kind.names_images
            assert not find_marks(content, *WORDS)
