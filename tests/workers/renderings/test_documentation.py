"""What docs/outputs.md tells people to run."""

from __future__ import annotations

import re
from pathlib import Path

import highdicom
import pydicom
import pytest

from phantom.corpus.chest import SMALL, Chest
from phantom.corpus.series import make_multi_frame
from tests.workers.renderings.scans import AXIAL, make_labels, make_organs, make_provenance, make_source
from workers.renderings.segmentation import write_segmentation

_PAGE = Path(__file__).parents[3] / "docs" / "outputs.md"


class TestFillingInThePatient:
    def test_makes_an_object_of_the_scans_patient(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (code,) = re.findall(r"```python\n(.*?)```", _PAGE.read_text(encoding="utf-8"), re.DOTALL)
        (tmp_path / "scan").mkdir()
        (tmp_path / "scan" / "slice.dcm").write_bytes(make_multi_frame(Chest(7, SMALL)))
        write_segmentation(
            tmp_path / "masks_dicom.dcm", make_organs(make_labels()), make_provenance(make_source(AXIAL))
        )
        monkeypatch.chdir(tmp_path)
        exec(compile(code, str(_PAGE), "exec"), {})  # our own page
        scan = pydicom.dcmread("scan/slice.dcm", stop_before_pixels=True)
        filled = highdicom.seg.segread("masks_of_the_patient.dcm")
        assert scan.PatientID
        assert (filled.PatientID, filled.StudyDate) == (scan.PatientID, scan.StudyDate)
        assert filled.PatientIdentityRemoved == "NO"
