"""Every kind of artefact as callers get it: its type, and a name by whose ending programs know it."""

from __future__ import annotations

import uuid
from contextlib import ExitStack

import httpx
import pytest
from sqlalchemy import Engine, update

from shared.artefacts import ArtefactKind
from shared.byte_units import MIB
from shared.database import transaction
from shared.storage import ObjectStore
from shared.tables import Artefact
from tests.gateway.conftest import RunningGateway
from tests.gateway.pipeline import add_artefact
from workers.diffusion.anomaly_map import MEDIA_TYPE as ANOMALY_MAP
from workers.intake.stage import PREVIEW_MEDIA_TYPE, VOLUME_MEDIA_TYPE
from workers.manifest import MEDIA_TYPE as MANIFEST
from workers.renderings.dicom import MEDIA_TYPE as DICOM
from workers.renderings.pictures import PNG
from workers.report.maker import HTML, PDF
from workers.volume.label_map import MEDIA_TYPE as LABEL_MAP
from workers.volume.nifti import MEDIA_TYPE as NIFTI
from workers.volume.source import MEDIA_TYPE as SOURCE

_LARGE_BYTES = 24 * MIB
"""More than the buffers of a connection hold."""

_MORE_THAN_THREADS = 20

NOT_OFFERED = {ArtefactKind.UPLOAD}

OFFERED = {
    ArtefactKind.SOURCE_SERIES: (SOURCE, "source_series.json"),
    ArtefactKind.VOLUME: (VOLUME_MEDIA_TYPE, "volume"),
    ArtefactKind.PREVIEW: (PREVIEW_MEDIA_TYPE, "preview.png"),
    ArtefactKind.MASKS: (LABEL_MAP, "masks.b2nd"),
    ArtefactKind.MASKS_NIFTI: (NIFTI, "masks_nifti.nii.gz"),
    ArtefactKind.MASKS_DICOM: (DICOM, "masks_dicom.dcm"),
    ArtefactKind.MASKS_PREVIEW: (PNG, "masks_preview.png"),
    ArtefactKind.ANOMALY_MAP: (ANOMALY_MAP, "anomaly_map"),
    ArtefactKind.ANOMALY_MAP_NIFTI: (NIFTI, "anomaly_map_nifti.nii.gz"),
    ArtefactKind.ANOMALY_MAP_DICOM: (DICOM, "anomaly_map_dicom.dcm"),
    ArtefactKind.ANOMALY_MAP_PREVIEW: (PNG, "anomaly_map_preview.png"),
    ArtefactKind.RUN_MANIFEST: (MANIFEST, "run_manifest.json"),
    ArtefactKind.CT_CLIP_RELEVANCE: (NIFTI, "ct_clip_relevance.nii.gz"),
    ArtefactKind.SUPERVISED_RELEVANCE: (NIFTI, "supervised_relevance.nii.gz"),
    ArtefactKind.REPORT_HTML_EN: (HTML, "report_html_en.html"),
    ArtefactKind.REPORT_HTML_RU: (HTML, "report_html_ru.html"),
    ArtefactKind.REPORT_PDF_EN: (PDF, "report_pdf_en.pdf"),
    ArtefactKind.REPORT_PDF_RU: (PDF, "report_pdf_ru.pdf"),
}


class TestDownloads:
    def test_all_kinds_are_looked_at(self) -> None:
        assert OFFERED.keys() == set(ArtefactKind) - NOT_OFFERED

    def test_every_type_is_documented(self, gateway: RunningGateway) -> None:
        operation = gateway.http.get("/openapi.json").json()["paths"]["/v1/jobs/{job_id}/artifacts/{name}"]["get"]
        media_types = {media_type.partition(";")[0] for media_type, _ in OFFERED.values()}
        assert media_types == set(operation["responses"]["200"]["content"])

    @pytest.mark.parametrize("kind", OFFERED)
    def test_come_under_their_name(
        self, gateway: RunningGateway, engine: Engine, store: ObjectStore, kind: ArtefactKind
    ) -> None:
        job_id = uuid.UUID(gateway.submit()["id"])
        media_type, file_name = OFFERED[kind]
        content = f"bytes of {kind}".encode()
        add_artefact(engine, store, job_id, content, kind=kind, media_type=media_type)
        (item,) = gateway.http.get(f"/v1/jobs/{job_id}/artifacts").json()["items"]
        assert (item["name"], item["media_type"]) == (kind, media_type)
        answer = gateway.http.get(item["href"])
        assert (answer.status_code, answer.content) == (200, content)
        assert answer.headers["content-type"] == media_type
        assert answer.headers["content-disposition"] == f'attachment; filename="{file_name}"'
        assert answer.headers["x-content-type-options"] == "nosniff"

    def test_that_nobody_takes_keep_nobody_out(
        self, gateway: RunningGateway, engine: Engine, store: ObjectStore
    ) -> None:
        job_id = uuid.UUID(gateway.submit()["id"])
        content = bytes(_LARGE_BYTES)
        add_artefact(engine, store, job_id, content, kind=ArtefactKind.VOLUME, media_type=VOLUME_MEDIA_TYPE)
        path = f"/v1/jobs/{job_id}/artifacts/volume"
        with ExitStack() as held:
            for _ in range(_MORE_THAN_THREADS):
                slow = held.enter_context(gateway.connect())
                slow.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
                assert slow.recv(100).startswith(b"HTTP/1.1 200 ")
            assert gateway.http.get(path, timeout=20).content == content

    def test_of_other_bytes_than_were_written_break_off(
        self, gateway: RunningGateway, engine: Engine, store: ObjectStore
    ) -> None:
        job_id = uuid.UUID(gateway.submit()["id"])
        add_artefact(engine, store, job_id, bytes(_LARGE_BYTES), kind=ArtefactKind.VOLUME, media_type=VOLUME_MEDIA_TYPE)
        with transaction(engine) as session:
            changed = update(Artefact).where(Artefact.job_id == job_id, Artefact.kind == ArtefactKind.VOLUME)
            session.execute(changed.values(sha256="0" * 64))
        with pytest.raises(httpx.RemoteProtocolError):
            gateway.http.get(f"/v1/jobs/{job_id}/artifacts/volume")
