"""The intake stage on real object storage: rows, facts, the artefact."""

from __future__ import annotations

import hashlib
import io
import uuid
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from shared.artefacts import ArtefactKind, UploadKind
from shared.errors import TransientFault
from shared.json_values import JsonObject
from shared.settings import Settings
from shared.stages import StageName
from shared.storage import ObjectStore, StoredObject
from shared.tables import SeriesCandidate, UploadFile
from tests.faults.proxy import Conditions, proxy_to
from tests.hostile.packing import pack, unpack
from tests.workers.intake.test_nifti import make_affine, make_chest, write
from tests.workers.intake.test_splitting import move
from workers.intake.stage import IntakeStage, make_stage
from workers.runtime.stage import ArtefactRecord, StageRecord
from workers.volume import VolumeFile


@dataclass
class UploadContext:
    """A stage's context over an upload in real storage."""

    store: ObjectStore
    scratch: Path
    stored: StoredObject
    upload_kind: UploadKind = UploadKind.ZIP
    options: JsonObject = field(default_factory=dict)
    policy: JsonObject = field(default_factory=dict)
    job_id: str = "job"
    tenant: str = "hospital"
    progress: list[float] = field(default_factory=list)

    def presign_upload(self) -> str:
        return self.store.presign(self.stored.key)

    def fetch_artefact(self, kind: ArtefactKind) -> Path:
        raise NotImplementedError

    def fetch_records(self) -> Mapping[StageName, StageRecord]:
        raise NotImplementedError

    def fetch_artefact_records(self) -> Sequence[ArtefactRecord]:
        return (ArtefactRecord(ArtefactKind.UPLOAD, "application/zip", self.stored.size_bytes, self.stored.sha256),)

    def fetch_elapsed_s(self) -> float:
        raise NotImplementedError

    def report(self, progress: float) -> None:
        self.progress.append(progress)


@pytest.fixture(scope="module")
def stage(settings: Settings) -> Iterator[IntakeStage]:
    stage = make_stage(settings)
    yield stage
    stage.close()


def upload(store: ObjectStore, scratch: Path, content: bytes, **options: str | bool) -> UploadContext:
    stored = store.write_bytes(content, prefix=f"test/{uuid.uuid4()}")
    return UploadContext(store, scratch, stored, options=options)


class TestAcceptedStudy:
    def test_facts_name_the_study_the_series_and_the_volume(
        self, stage: IntakeStage, store: ObjectStore, tmp_path: Path, phantom_zip: Path
    ) -> None:
        output = stage.run(upload(store, tmp_path, phantom_zip.read_bytes()))
        assert output.rejection is None
        assert {"study_uid", "series_uid", "series", "hu"} <= output.facts.keys()
        series = output.facts["series"]
        assert isinstance(series, Mapping)
        assert {
            "series_instance_uid", "slices", "shape_zyx", "spacing_zyx_mm", "kernel", "slice_thickness_mm",
            "manufacturer", "transfer_syntax", "reason", "candidates",
        } <= series.keys()  # fmt: skip
        artefact, preview, source = output.artefacts
        kinds = (artefact.kind, preview.kind, source.kind)
        assert kinds == (ArtefactKind.VOLUME, ArtefactKind.PREVIEW, ArtefactKind.SOURCE_SERIES)
        assert list(VolumeFile(artefact.path).shape) == series["shape_zyx"]

    def test_every_file_has_a_row_and_one_candidate_is_chosen(
        self, stage: IntakeStage, store: ObjectStore, tmp_path: Path, phantom_zip: Path
    ) -> None:
        rows = stage.run(upload(store, tmp_path, phantom_zip.read_bytes())).rows
        files = [row for row in rows if isinstance(row, UploadFile)]
        candidates = [row for row in rows if isinstance(row, SeriesCandidate)]
        assert [row.ordinal for row in files] == list(range(len(files)))
        assert {row.outcome for row in files} == {"used"}
        assert [row.is_chosen for row in candidates] == [True]

    def test_a_large_upload_is_read_in_ranges(self, stage: IntakeStage, store: ObjectStore, tmp_path: Path) -> None:
        chest = Path(__file__).parents[3] / "deploy" / "demo" / "chest_covid_small.zip"
        output = stage.run(upload(store, tmp_path, chest.read_bytes()))
        assert output.rejection is None
        hu = VolumeFile(output.artefacts[0].path).read().hu
        digest = hashlib.sha256(hu.astype("<i2").tobytes()).hexdigest()
        assert digest == "39411ea46570d0558f1aefda1a3c686785b83d9afa5ba93734f2d08e49c11672"


class TestRefusedStudy:
    def test_the_rows_are_kept_beside_the_problem(self, stage: IntakeStage, store: ObjectStore, tmp_path: Path) -> None:
        abdomen = Path(__file__).parents[2] / "golden" / "dicom" / "abdomen_siemens_20.zip"
        output = stage.run(upload(store, tmp_path, abdomen.read_bytes()))
        assert output.rejection is not None
        assert output.rejection.code == "no_lungs_found"
        assert len([row for row in output.rows if isinstance(row, UploadFile)]) == 20
        (candidate,) = [row for row in output.rows if isinstance(row, SeriesCandidate)]
        assert candidate.reason.startswith("no_lungs_found: ")

    def test_a_series_that_is_not_there(
        self, stage: IntakeStage, store: ObjectStore, tmp_path: Path, phantom_zip: Path
    ) -> None:
        output = stage.run(upload(store, tmp_path, phantom_zip.read_bytes(), series_instance_uid="1.2.3"))
        assert output.rejection is not None
        assert output.rejection.code == "series_not_found"
        (candidate,) = [row for row in output.rows if isinstance(row, SeriesCandidate)]
        assert candidate.reason == "another series was asked for by series_instance_uid"


class TestValidation:
    def test_of_a_good_study_tells_all_and_keeps_no_volume(
        self, stage: IntakeStage, store: ObjectStore, tmp_path: Path, phantom_zip: Path
    ) -> None:
        output = stage.run(upload(store, tmp_path, phantom_zip.read_bytes(), validate_only=True))
        assert output.rejection is None
        assert [artefact.kind for artefact in output.artefacts] == [ArtefactKind.PREVIEW]
        assert output.artefacts[0].path.read_bytes().startswith(b"\x89PNG")
        assert not (tmp_path / "volume.b2nd").exists()
        chosen, hu = output.facts["chosen"], output.facts["hu"]
        assert isinstance(chosen, Mapping)
        assert isinstance(hu, Mapping)
        assert len(str(hu["sha256_int16_zyx"])) == 64
        assert {"shape_zyx", "spacing_zyx_mm", "origin_lps_mm", "row_direction", "column_direction"} <= chosen.keys()
        assert output.facts["choice_policy"]

    def test_of_a_refused_study_tells_what_was_read_of_it(
        self, stage: IntakeStage, store: ObjectStore, tmp_path: Path
    ) -> None:
        abdomen = Path(__file__).parents[2] / "golden" / "dicom" / "abdomen_siemens_20.zip"
        output = stage.run(upload(store, tmp_path, abdomen.read_bytes(), validate_only=True))
        assert output.rejection is not None
        assert output.rejection.code == "no_lungs_found"
        assert {"chosen", "hu", "choice_policy"} <= output.facts.keys()

    def test_of_a_nifti_tells_the_same(self, stage: IntakeStage, store: ObjectStore, tmp_path: Path) -> None:
        nifti = write(tmp_path, make_chest(), make_affine())
        context = upload(store, tmp_path, nifti, validate_only=True)
        output = stage.run(replace(context, upload_kind=UploadKind.NIFTI))
        assert output.rejection is None
        assert ArtefactKind.VOLUME not in {artefact.kind for artefact in output.artefacts}
        assert {"chosen", "hu"} <= output.facts.keys()


class TestBytesThatChangeOnTheirWay:
    def test_are_no_fault_of_the_study(
        self, stage: IntakeStage, store: ObjectStore, settings: Settings, tmp_path: Path, phantom_zip: Path
    ) -> None:
        port = int(settings.storage_endpoint.rpartition(":")[2])
        with proxy_to(port) as proxy, proxy.under(Conditions(changes_answers=True)):
            changed = ObjectStore(settings.model_copy(update={"storage_endpoint": f"127.0.0.1:{proxy.own_port}"}))
            for kind, content in (
                (UploadKind.ZIP, phantom_zip.read_bytes()),
                (UploadKind.NIFTI, write(tmp_path, make_chest(), make_affine())),
            ):
                context = replace(upload(store, tmp_path, content), store=changed, upload_kind=kind)
                with pytest.raises(TransientFault):
                    stage.run(context)


class TestSplitting:
    @pytest.fixture
    def both(self, phantom_zip: Path) -> bytes:
        files = unpack(phantom_zip)
        return pack({**files, **move(files, "1.2.826.0.9")})

    def test_names_the_studies_of_a_mixed_archive(
        self, stage: IntakeStage, store: ObjectStore, tmp_path: Path, both: bytes
    ) -> None:
        output = stage.run(upload(store, tmp_path, both, split=True))
        assert output.rejection is not None
        assert output.rejection.code == "mixed_studies"
        assert len(output.split_into) == 2
        assert "1.2.826.0.9" in output.split_into

    def test_is_not_done_unasked(self, stage: IntakeStage, store: ObjectStore, tmp_path: Path, both: bytes) -> None:
        output = stage.run(upload(store, tmp_path, both))
        assert output.rejection is not None
        assert output.split_into == ()

    def test_leaves_jobs_that_read_one_study_each(
        self, stage: IntakeStage, store: ObjectStore, tmp_path: Path, both: bytes
    ) -> None:
        output = stage.run(upload(store, tmp_path, both, study_instance_uid="1.2.826.0.9"))
        assert (output.rejection, output.facts["study_uid"]) == (None, "1.2.826.0.9")
        own = [row for row in output.rows if isinstance(row, UploadFile)]
        assert {row.outcome for row in own} == {"used"}
        assert output.facts["files_of_other_studies"] == len(own)

    def test_leaves_the_list_of_all_files_to_the_first_job(
        self, stage: IntakeStage, store: ObjectStore, tmp_path: Path, both: bytes
    ) -> None:
        output = stage.run(upload(store, tmp_path, both, split=True))
        rows = [row for row in output.rows if isinstance(row, UploadFile)]
        with zipfile.ZipFile(io.BytesIO(both)) as archive:
            assert [row.ordinal for row in rows] == list(range(len(archive.namelist())))
