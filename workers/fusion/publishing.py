"""What is published of a reading: the result, its manifest, its reports and, where there is a key, its receipt."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from datetime import UTC, datetime

from shared.artefacts import ArtefactKind
from shared.receipts import make_statement, read_receipt_key
from shared.settings import Settings
from shared.tables import Document, Result
from workers.fusion.document import Reading, make_document
from workers.manifest import MEDIA_TYPE, Run, make_manifest
from workers.report.language import Language
from workers.report.maker import ReportMaker
from workers.runtime.stage import ArtefactRecord, ProducedArtefact, StageContext


class Publisher:
    """Writes down what was read."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._key = read_receipt_key(settings.receipt_key)
        self._reports = ReportMaker(
            [Language(language) for language in settings.report_languages], settings.report_time_limit
        )

    def publish(self, context: StageContext, reading: Reading) -> tuple[Result, list[ProducedArtefact]]:
        """Return the row of the result, and manifest and reports as artefacts; the result names their digests.

        The times of the result are those after its reports were made.
        """
        started = time.monotonic()
        manifest = self._make_manifest(context, reading)
        path = context.scratch / ArtefactKind.RUN_MANIFEST
        path.write_bytes(manifest)
        sha256 = hashlib.sha256(manifest).hexdigest()
        record = ArtefactRecord(ArtefactKind.RUN_MANIFEST, MEDIA_TYPE, len(manifest), sha256)
        reports = self._reports.make(context, make_document(reading))
        artefacts = [*reading.artefacts, record, *reports.records]
        document = make_document(
            replace(
                reading,
                artefacts=artefacts,
                warnings=reports.warnings,
                fusion_s=reading.fusion_s + time.monotonic() - started,
                elapsed_s=context.fetch_elapsed_s(),
            )
        )
        row = Result(
            document=document,
            policy_id=reading.policy.id,
            probability=reading.decision.probability,
            receipt=self._sign(document, sha256),
        )
        return row, [ProducedArtefact(ArtefactKind.RUN_MANIFEST, path, MEDIA_TYPE), *reports.artefacts]

    def _make_manifest(self, context: StageContext, reading: Reading) -> bytes:
        run = Run(
            job_id=reading.job_id,
            options=context.options,
            policy=context.policy,
            records=reading.records,
            artefacts=reading.artefacts,
            fusion=reading.model,
            probability=reading.decision.probability,
            settings=self._settings,
        )
        return make_manifest(run)

    def _sign(self, document: Document, manifest_sha256: str) -> Document | None:
        if self._key is None:
            return None
        issued_at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return self._key.sign(make_statement(document, manifest_sha256=manifest_sha256, issued_at=issued_at))
