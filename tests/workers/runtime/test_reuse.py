"""Stages that an earlier job answers: same pixels, weights, code and policy, and nothing that erasure would break."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete, func, select, text, update
from sqlalchemy.orm import Session

from gateway.jobs.erasing import erase_job
from gateway.jobs.schemas import ErasureBody
from gateway.tenants import Tenant
from shared.artefacts import ArtefactKind
from shared.database import transaction
from shared.endings import end_job
from shared.settings import Settings
from shared.stages import SkipReason, StageName
from shared.states import JobState, StageState
from shared.storage import ObjectStore, StoredObject
from shared.tables import (
    Artefact,
    Event,
    Feature,
    Job,
    ModelVersion,
    Outbox,
    Policy,
    StageRun,
    WebhookDelivery,
    WebhookEndpoint,
)
from tests.stack.running import wait_until
from tests.workers.runtime.conftest import JobMaker
from workers.replay.starting import NothingLeft, Replay, start_replay
from workers.reuse import EarlierAnswers
from workers.runtime.completion import StoredArtefact, complete_from_earlier, complete_stage
from workers.runtime.lease import Lease, claim
from workers.runtime.stage import ProducedArtefact, StageOutput, StageWarning

INTAKE, CT_CLIP, MEDNEXT = StageName.INTAKE, StageName.CT_CLIP, StageName.MEDNEXT
SEGMENTATION, FVLM, FUSION = StageName.SEGMENTATION, StageName.FVLM, StageName.FUSION
DIGESTS = {stage: stage.encode().hex().ljust(64, "0") for stage in (CT_CLIP, MEDNEXT, SEGMENTATION, FVLM)}
FEATURES = {MEDNEXT: {"mednext_normal": 0.25}, CT_CLIP: {"ct_clip_pneumonia": 0.75}, FVLM: {"fvlm_heart": 0.5}}


@dataclass(frozen=True)
class Works:
    """What workers do to jobs of studies, with models that only say a number."""

    engine: Engine
    store: ObjectStore
    settings: Settings
    make_job: JobMaker
    scratch: Path

    @property
    def earlier(self) -> EarlierAnswers:
        return EarlierAnswers(self.settings)

    def take_in(self, content: str, *models: StageName, **job: object) -> uuid.UUID:
        """Return a job whose intake has ended with a volume of some content."""
        job_id = self.make_job(models=models)
        if job:
            with transaction(self.engine) as session:
                session.execute(update(Job).where(Job.id == job_id).values(**job))
        facts = {"content_sha256": content}
        self.complete(job_id, INTAKE, StageOutput(), [self.store_artefact(job_id, ArtefactKind.VOLUME, facts)])
        return job_id

    def run(self, job_id: uuid.UUID, stage: StageName, digest: str | None = None) -> None:
        """Let a model answer."""
        kinds = [ArtefactKind.MASKS, ArtefactKind.MASKS_PREVIEW] if stage is SEGMENTATION else []
        output = StageOutput(
            features=FEATURES.get(stage, {}),
            facts={"digest": digest or DIGESTS[stage], "name": f"the-{stage}"},
            warnings=[StageWarning("labels_missing", {"missing": ["x"]})],
        )
        artefacts = [self.store_artefact(job_id, kind, {"content_sha256": f"content of {kind}"}) for kind in kinds]
        self.complete(job_id, stage, output, artefacts)

    def complete(
        self, job_id: uuid.UUID, stage: StageName, output: StageOutput, artefacts: list[StoredArtefact]
    ) -> None:
        lease = self.claim(job_id, stage)
        with transaction(self.engine) as session:
            complete_stage(session, lease, output, artefacts, self.earlier)

    def answer(self, job_id: uuid.UUID, stage: StageName) -> bool:
        """Look for an earlier answer, as a worker does before it claims."""
        with transaction(self.engine) as session:
            return complete_from_earlier(session, job_id, stage, self.earlier)

    def claim(self, job_id: uuid.UUID, stage: StageName) -> Lease:
        with transaction(self.engine) as session:
            lease = claim(session, job_id, stage, worker="worker-of-tests", duration=timedelta(seconds=30))
        assert lease is not None, f"{stage} is not ready"
        return lease

    def store_artefact(self, job_id: uuid.UUID, kind: ArtefactKind, facts: dict[str, str]) -> StoredArtefact:
        path = self.scratch / f"{job_id}-{kind}"
        path.write_bytes(f"{job_id} {kind}".encode())
        stored = self.store.write_file(path, prefix=f"jobs/{job_id}/{kind}")
        return StoredArtefact(ProducedArtefact(kind, path, "application/x-tests", facts), stored)

    def fetch_run(self, job_id: uuid.UUID, stage: StageName) -> StageRun:
        with transaction(self.engine) as session:
            run = session.get_one(StageRun, (job_id, stage))
            session.expunge(run)
        return run

    def fetch_features(self, job_id: uuid.UUID, stage: StageName) -> dict[str, float]:
        with transaction(self.engine) as session:
            return dict(session.get_one(Feature, (job_id, stage)).values)

    def list_objects(self, job_id: uuid.UUID, stage: StageName) -> list[StoredObject]:
        with transaction(self.engine) as session:
            rows = session.scalars(select(Artefact).where(Artefact.job_id == job_id, Artefact.stage == stage)).all()
            return [StoredObject(row.key, row.size_bytes, row.sha256) for row in rows]

    def erase(self, job_id: uuid.UUID) -> ErasureBody:
        with transaction(self.engine) as session:
            return erase_job(session, self.store, Tenant("default"), job_id)

    def read(self, stored: StoredObject) -> bytes:
        body = io.BytesIO()
        self.store.fetch(stored, body)
        return body.getvalue()


@pytest.fixture
def works(
    engine: Engine, store: ObjectStore, settings: Settings, make_job: JobMaker, tmp_path: Path
) -> Iterator[Works]:
    """The works, with four models that are active and no others."""
    with transaction(engine) as session:
        session.execute(update(ModelVersion).values(is_active=False))
        session.add_all(
            ModelVersion(stage=stage, digest=digest, version="1", weights_profile="demo", is_active=True)
            for stage, digest in DIGESTS.items()
        )
    yield Works(engine, store, settings, make_job, tmp_path)
    with transaction(engine) as session:
        session.execute(delete(ModelVersion).where(ModelVersion.digest.in_(DIGESTS.values())))


@pytest.fixture
def content() -> str:
    """A digest of pixels that no other test has."""
    return uuid.uuid4().hex * 2


class TestTheSameStudyAgain:
    def test_is_answered_when_intake_ends_and_no_model_runs(self, works: Works, content: str) -> None:
        first = works.take_in(content, CT_CLIP, MEDNEXT)
        works.run(first, CT_CLIP)
        works.run(first, MEDNEXT)
        second = works.take_in(content, CT_CLIP, MEDNEXT)
        for stage in (CT_CLIP, MEDNEXT):
            run = works.fetch_run(second, stage)
            assert (run.state, run.attempt, run.started_at, run.progress) == (StageState.SUCCEEDED, 0, None, 1)
            assert run.reused_from == first
            assert run.finished_at is not None
            told = works.fetch_run(first, stage)
            assert (run.facts, run.warnings) == (told.facts, told.warnings)
            assert works.fetch_features(second, stage) == FEATURES[stage]
        assert works.fetch_run(second, FUSION).state is StageState.READY
        with transaction(works.engine) as session:
            assert session.scalars(select(Outbox.stage).where(Outbox.job_id == second)).all() == [FUSION]
            told_events = select(Event.facts).where(Event.job_id == second, Event.stage == MEDNEXT)
            assert session.scalars(told_events).all() == [{"reused_from": str(first)}]

    def test_runs_the_one_model_whose_weights_have_changed(self, works: Works, content: str) -> None:
        first = works.take_in(content, CT_CLIP, MEDNEXT)
        works.run(first, CT_CLIP)
        works.run(first, MEDNEXT, digest="e" * 64)
        second = works.take_in(content, CT_CLIP, MEDNEXT)
        assert works.fetch_run(second, CT_CLIP).reused_from == first
        assert works.fetch_run(second, MEDNEXT).state is StageState.READY
        assert works.fetch_run(second, FUSION).state is StageState.WAITING

    def test_shares_the_objects_of_masks_and_goes_on_to_what_needs_them(self, works: Works, content: str) -> None:
        first = works.take_in(content, SEGMENTATION, FVLM)
        works.run(first, SEGMENTATION)
        works.run(first, FVLM)
        second = works.take_in(content, SEGMENTATION, FVLM)
        assert works.fetch_run(second, FVLM).reused_from == first
        assert works.fetch_run(second, FUSION).state is StageState.READY
        objects = works.list_objects(second, SEGMENTATION)
        assert len(objects) == 2
        assert sorted(each.key for each in objects) == sorted(
            each.key for each in works.list_objects(first, SEGMENTATION)
        )

    def test_is_answered_too_when_a_stage_was_ready_before_the_other_job_ended_it(
        self, works: Works, content: str
    ) -> None:
        first, second = (works.take_in(content, MEDNEXT) for _ in range(2))
        works.run(first, MEDNEXT)
        assert works.answer(second, MEDNEXT)
        assert not works.answer(second, MEDNEXT)
        assert works.fetch_run(second, MEDNEXT).reused_from == first
        assert works.fetch_run(second, FUSION).state is StageState.READY

    def test_leaves_a_stage_alone_that_a_worker_has_leased(self, works: Works, content: str) -> None:
        first, second = (works.take_in(content, MEDNEXT) for _ in range(2))
        works.claim(second, MEDNEXT)
        works.run(first, MEDNEXT)
        assert not works.answer(second, MEDNEXT)
        assert works.fetch_run(second, MEDNEXT).state is StageState.LEASED


def another_policy(session: Session, job_id: uuid.UUID) -> None:
    session.merge(Policy(id="policy-of-reuse", name="reuse", digest="1", document={"lung_check": "reject"}))
    session.flush()
    session.get_one(Job, job_id).policy_id = "policy-of-reuse"


class TestAnotherQuestion:
    def run_once(self, works: Works, content: str) -> uuid.UUID:
        first = works.take_in(content, MEDNEXT)
        works.run(first, MEDNEXT)
        return first

    def test_of_other_pixels_runs(self, works: Works, content: str) -> None:
        self.run_once(works, content)
        assert works.fetch_run(works.take_in(uuid.uuid4().hex * 2, MEDNEXT), MEDNEXT).state is StageState.READY

    def test_of_another_tenant_runs(self, works: Works, content: str) -> None:
        self.run_once(works, content)
        assert works.fetch_run(works.take_in(content, MEDNEXT, tenant="b"), MEDNEXT).state is StageState.READY

    def test_that_asks_for_no_reuse_runs(self, works: Works, content: str) -> None:
        self.run_once(works, content)
        second = works.take_in(content, MEDNEXT, options={"reuse": False})
        assert works.fetch_run(second, MEDNEXT).state is StageState.READY

    def test_where_reuse_is_off_runs_and_may_answer_later_ones(self, works: Works, content: str) -> None:
        off = replace(works, settings=works.settings.model_copy(update={"reuse": False}))
        first = self.run_once(off, content)
        assert off.fetch_run(off.take_in(content, MEDNEXT), MEDNEXT).state is StageState.READY
        assert works.fetch_run(works.take_in(content, MEDNEXT), MEDNEXT).reused_from == first

    def test_in_another_precision_runs(self, works: Works, content: str) -> None:
        self.run_once(works, content)
        coarse = works.settings.model_copy(update={"precision": "bf16"})
        other = replace(works, settings=coarse)
        assert other.fetch_run(other.take_in(content, MEDNEXT), MEDNEXT).state is StageState.READY

    def test_under_a_policy_that_models_read_differently_runs(self, works: Works, content: str) -> None:
        self.run_once(works, content)
        second = works.make_job(models=(MEDNEXT,))
        with transaction(works.engine) as session:
            another_policy(session, second)
        volume = works.store_artefact(second, ArtefactKind.VOLUME, {"content_sha256": content})
        works.complete(second, INTAKE, StageOutput(), [volume])
        assert works.fetch_run(second, MEDNEXT).state is StageState.READY

    def test_of_a_volume_without_a_digest_runs(self, works: Works, content: str) -> None:
        job_id = works.make_job(models=(MEDNEXT,))
        works.complete(job_id, INTAKE, StageOutput(), [works.store_artefact(job_id, ArtefactKind.VOLUME, {})])
        works.run(job_id, MEDNEXT)
        assert works.fetch_run(job_id, MEDNEXT).recipe_sha256 is None


def is_anybody_waiting(engine: Engine) -> bool:
    with transaction(engine) as session:
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        return bool(session.scalar(text(waiting)))


class TestErasing:
    def answer_twice(self, works: Works, content: str) -> tuple[uuid.UUID, uuid.UUID]:
        first = works.take_in(content, SEGMENTATION, FVLM)
        works.run(first, SEGMENTATION)
        works.run(first, FVLM)
        return first, works.take_in(content, SEGMENTATION, FVLM)

    def test_the_first_job_leaves_the_second_whole(self, works: Works, content: str) -> None:
        first, second = self.answer_twice(works, content)
        shared = works.list_objects(second, SEGMENTATION)
        certificate = works.erase(first)
        # The upload (whose object these jobs never had) and the volume; both masks stay, for the second names them.
        assert certificate.objects == 2
        assert [works.read(each) for each in shared] == [
            f"{first} {kind}".encode() for kind in (ArtefactKind.MASKS, ArtefactKind.MASKS_PREVIEW)
        ]
        assert works.fetch_features(second, FVLM) == FEATURES[FVLM]
        assert works.erase(second).objects == 4
        keys = {key for key, _ in works.store.iterate_keys()}
        assert not keys & {each.key for each in shared}

    def test_the_first_job_leaves_the_second_to_answer_a_third(self, works: Works, content: str) -> None:
        first, second = self.answer_twice(works, content)
        works.erase(first)
        third = works.take_in(content, SEGMENTATION, FVLM)
        assert works.fetch_run(third, FVLM).reused_from == first  # where the model ran
        shared = {each.key for each in works.list_objects(second, SEGMENTATION)}
        assert {each.key for each in works.list_objects(third, SEGMENTATION)} == shared
        works.erase(second)
        assert all(works.read(each) for each in works.list_objects(third, SEGMENTATION))

    def test_the_second_job_leaves_the_first_whole(self, works: Works, content: str) -> None:
        first, second = self.answer_twice(works, content)
        assert works.erase(second).objects == 2
        assert all(works.read(each) for each in works.list_objects(first, SEGMENTATION))

    def test_counts_every_row_of_a_job_that_was_answered(self, works: Works, content: str) -> None:
        _, second = self.answer_twice(works, content)
        with transaction(works.engine) as session:
            rows = sum(
                session.scalar(select(func.count()).select_from(table).where(table.job_id == second)) or 0
                for table in (StageRun, Feature, Artefact, Event, Outbox)
            )
        # And the job's own row, and the two events of its cancelling: the fusion was about to run.
        assert works.erase(second).rows == rows + 3

    def test_waits_for_an_answer_that_is_being_taken_and_leaves_its_objects(self, works: Works, content: str) -> None:
        first, second = (works.take_in(content, SEGMENTATION) for _ in range(2))
        works.run(first, SEGMENTATION)
        with ThreadPoolExecutor(1) as pool:
            with transaction(works.engine) as session:
                assert complete_from_earlier(session, second, SEGMENTATION, works.earlier)
                erasing = pool.submit(works.erase, first)
                wait_until(lambda: is_anybody_waiting(works.engine), "the erasure waits", 30)
            assert erasing.result(30).objects == 2
        assert all(works.read(each) for each in works.list_objects(second, SEGMENTATION))

    def test_that_is_under_way_lets_nobody_take_the_answer(self, works: Works, content: str) -> None:
        first, second = (works.take_in(content, SEGMENTATION) for _ in range(2))
        works.run(first, SEGMENTATION)
        with ThreadPoolExecutor(1) as pool:
            with transaction(works.engine) as session:
                erase_job(session, works.store, Tenant("default"), first)
                answering = pool.submit(works.answer, second, SEGMENTATION)
                wait_until(lambda: is_anybody_waiting(works.engine), "the answer waits", 30)
            assert not answering.result(30)
        assert works.fetch_run(second, SEGMENTATION).state is StageState.READY
        assert works.list_objects(second, SEGMENTATION) == []


class TestAReplay:
    def start(self, works: Works, job_id: uuid.UUID, *removed: ArtefactKind) -> Replay:
        with transaction(works.engine) as session:
            session.execute(delete(Artefact).where(Artefact.job_id == job_id, Artefact.kind.in_(removed)))
        with transaction(works.engine) as session:
            return start_replay(session, works.settings, session.get_one(Job, job_id))

    def test_reads_the_same_upload_again_and_takes_no_earlier_answer(self, works: Works, content: str) -> None:
        first = works.take_in(content, MEDNEXT, options={"callback_url": "https://x", "models": ["mednext"]})
        works.run(first, MEDNEXT)
        replay = self.start(works, first)
        assert replay.begins_at is ArtefactKind.UPLOAD
        with transaction(works.engine) as session:
            job = session.get_one(Job, replay.job_id)
            assert (job.options, job.labels) == (
                {"models": ["mednext"], "reuse": False, "is_untold": True},
                {"replay_of": str(first)},
            )
        assert works.fetch_run(replay.job_id, INTAKE).state is StageState.READY
        volume = works.store_artefact(replay.job_id, ArtefactKind.VOLUME, {"content_sha256": content})
        works.complete(replay.job_id, INTAKE, StageOutput(), [volume])
        assert works.fetch_run(replay.job_id, MEDNEXT).state is StageState.READY

    def test_is_told_to_no_webhook_of_the_tenant(self, works: Works, content: str) -> None:
        first = works.take_in(content, MEDNEXT)
        hook = {
            "tenant": "default",
            "url": "https://example.org/",
            "events": [f"job.{JobState.CANCELLED}"],
            "secret": "s",
        }
        with transaction(works.engine) as session:
            session.add(WebhookEndpoint(id=uuid.uuid4(), **hook))
        replay = self.start(works, first).job_id
        for job_id, messages in ((first, 1), (replay, 0)):
            with transaction(works.engine) as session:
                end_job(session, session.get_one(Job, job_id), JobState.CANCELLED)
                told = select(func.count()).select_from(WebhookDelivery).where(WebhookDelivery.job_id == job_id)
                assert session.scalar(told) == messages
        assert works.fetch_run(replay, StageName.DELIVERY).reason == SkipReason.NO_CALLBACK
        with transaction(works.engine) as session:
            session.execute(delete(WebhookEndpoint).where(WebhookEndpoint.tenant == "default"))

    def test_begins_at_the_volume_where_the_upload_was_removed(self, works: Works, content: str) -> None:
        first = works.take_in(content, MEDNEXT)
        works.run(first, MEDNEXT)
        replay = self.start(works, first, ArtefactKind.UPLOAD)
        assert replay.begins_at is ArtefactKind.VOLUME
        with transaction(works.engine) as session:
            job = session.get_one(Job, replay.job_id)
            assert job.turn_at < job.created_at  # as one of this priority has that begins at its upload
        assert works.fetch_run(replay.job_id, INTAKE).reused_from == first
        assert works.fetch_run(replay.job_id, MEDNEXT).state is StageState.READY
        works.erase(first)
        assert works.list_objects(replay.job_id, INTAKE)
        assert all(works.read(each) for each in works.list_objects(replay.job_id, INTAKE))

    def test_is_refused_where_nothing_is_left(self, works: Works, content: str) -> None:
        first = works.take_in(content, MEDNEXT)
        with pytest.raises(NothingLeft):
            self.start(works, first, ArtefactKind.UPLOAD, ArtefactKind.VOLUME)
