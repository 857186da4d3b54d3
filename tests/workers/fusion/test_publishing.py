"""What fusion publishes, in the real runtime: the result, the manifest that it names, and a receipt of both."""

from __future__ import annotations

import io
import json
import uuid

from pydantic import SecretStr
from sqlalchemy import Engine, select

from client.receipts import read_public_key, verify
from shared.artefacts import ArtefactKind
from shared.database import transaction
from shared.receipts import read_receipt_key
from shared.settings import Settings
from shared.storage import ObjectStore, StoredObject
from shared.tables import Artefact, Result
from tests.workers.fusion.conftest import POLICY
from tests.workers.fusion.test_stage import MASS, end_models, installed, make_runner
from tests.workers.runtime.conftest import JobMaker, make_job

__all__ = ["installed", "make_job"]  # fixtures that serve here too

KEY = SecretStr("ab" * 32)


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
