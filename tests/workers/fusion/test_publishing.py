"""What fusion publishes, in the real runtime: the result, the manifest that it names, and a receipt of both."""

from __future__ import annotations

import io
import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from pydantic import SecretStr
from sqlalchemy import Engine, select

from client.receipts import read_public_key, verify
from shared.artefacts import ArtefactKind
from shared.database import transaction
from shared.json_values import JsonObject
from shared.receipts import read_receipt_key
from shared.settings import Settings
from shared.storage import ObjectStore, StoredObject
from shared.tables import Artefact, Result
from tests.workers.fusion.conftest import POLICY, make_features, make_records
from tests.workers.fusion.test_document import make_reading
from tests.workers.fusion.test_stage import MASS, end_models, installed, make_runner
from tests.workers.report.study import ReportContext
from tests.workers.runtime.conftest import JobMaker, make_job
from training.fusion_booster import FittedBooster
from workers.fusion.publishing import Publisher
from workers.report.typesetting import PRINTED
from workers.runtime.stage import StageContext

__all__ = ["installed", "make_job"]  # fixtures that serve here too

KEY = SecretStr("ab" * 32)


@dataclass
class PrintingContext(ReportContext):
    """A stage context whose clock shows a minute as soon as a report is printed."""

    options: JsonObject = field(default_factory=dict)
    policy: JsonObject = field(default_factory=POLICY.to_document)

    def fetch_elapsed_s(self) -> float:
        return 60.0 if any(self.scratch.glob(f"*/{PRINTED}")) else 30.0


def read_manifest(engine: Engine, store: ObjectStore, job_id: uuid.UUID) -> bytes:
    query = select(Artefact).where(Artefact.job_id == job_id, Artefact.kind == ArtefactKind.RUN_MANIFEST)
    with transaction(engine) as session:
        row = session.scalars(query).one()
    content = io.BytesIO()
    store.fetch(StoredObject(row.key, row.size_bytes, row.sha256), content)
    return content.getvalue()


def fetch_result(engine: Engine, job_id: uuid.UUID) -> Result:
    with transaction(engine) as session:
        return session.get_one(Result, job_id)


class TestPublishing:
    def test_signs_the_result_as_the_database_gives_it_back_and_its_manifest(
        self, engine: Engine, installed: Settings, store: ObjectStore, make_job: JobMaker
    ) -> None:
        job_id = make_job()
        end_models(engine, job_id, POLICY, MASS)
        make_runner(engine, installed.model_copy(update={"receipt_key": KEY}), store)(job_id)
        result, manifest = fetch_result(engine, job_id), read_manifest(engine, store, job_id)
        key = read_receipt_key(KEY)
        assert key is not None
        assert result.receipt is not None
        public = read_public_key(key.describe_public()["pem"].encode())
        assert verify(result.document, result.receipt, public, manifest=manifest).is_valid
        told = json.loads(manifest)
        assert told["features"]["values"] == {"mednext": MASS}
        assert told["probability_of_pathology"] == result.probability
        named = {artefact["name"]: artefact["sha256"] for artefact in result.document["artifacts"]}
        assert named["run_manifest"] == result.receipt["statement"]["manifest_sha256"]

    def test_signs_nothing_without_a_key(
        self, engine: Engine, installed: Settings, store: ObjectStore, make_job: JobMaker
    ) -> None:
        job_id = make_job()
        end_models(engine, job_id, POLICY, MASS)
        make_runner(engine, installed.model_copy(update={"receipt_key": None}), store)(job_id)
        assert fetch_result(engine, job_id).receipt is None
        assert read_manifest(engine, store, job_id)


class TestTimes:
    def test_include_the_making_of_the_reports(
        self, fitted: FittedBooster, catalogue: Path, settings: Settings, tmp_path: Path
    ) -> None:
        reading = make_reading(fitted, catalogue, make_records(make_features()))
        context = cast("StageContext", PrintingContext(tmp_path, tmp_path, ()))
        document = Publisher(settings).publish(context, reading)[0].document
        fusion_s = document["timings"]["fusion"]["total_s"]
        assert document["time_of_processing"] == 60.0
        assert document["models"][-1]["seconds"] == fusion_s > reading.fusion_s
