"""The stage in the real runtime, on a real database: one result row, or an honest end without one."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session

from model_weights.policies import Policy
from shared import tables
from shared.artefacts import ArtefactKind
from shared.database import transaction
from shared.settings import ReportLanguage, Settings, WeightsProfile
from shared.stages import StageName
from shared.states import JobState, StageState
from shared.storage import ObjectStore, StoredObject
from shared.tables import Artefact, Feature, Job, Result, StageRun
from tests.workers.fusion.conftest import POLICY, make_features, make_intake_record, make_model_facts
from tests.workers.runtime.conftest import JobMaker, make_job
from workers.fusion.stage import AbsentFusion, make_stage
from workers.runtime.heartbeat import Heartbeat
from workers.runtime.runner import StageRunner
from workers.runtime.stage import StageWarning

__all__ = ["make_job"]  # the fixture of the runtime's tests serves here too

LENIENT = Policy(name="lenient", version="1", threshold=0.5, minimum_models=0)
MASS = make_features("kolyan_mass", models=(StageName.MEDNEXT,))

FusionRunner = Callable[[uuid.UUID], None]


@pytest.fixture
def installed(settings: Settings, catalogue: Path) -> Settings:
    """Settings of an installation whose only weights are the booster of the tests."""
    return settings.model_copy(update={"weights_profile": WeightsProfile.FULL, "weights_dir": catalogue})


@pytest.fixture
def run_fusion(engine: Engine, installed: Settings, store: ObjectStore) -> FusionRunner:
    """Return what runs the fusion of a job, as a worker would."""
    return make_runner(engine, installed, store)


def make_runner(engine: Engine, settings: Settings, store: ObjectStore) -> FusionRunner:
    stages = [make_stage(settings)]
    heartbeat = Heartbeat(engine, settings)
    runner = StageRunner(stages, settings, engine=engine, store=store, heartbeat=heartbeat, worker="fusion-tests")
    return lambda job_id: runner.run(job_id, StageName.FUSION)


def end_models(engine: Engine, job_id: uuid.UUID, policy: Policy, features: dict[str, float]) -> None:
    """Write what intake and MedNeXt found; without features MedNeXt has failed."""
    intake = make_intake_record()
    mednext = {"state": StageState.SUCCEEDED} if features else {"state": StageState.FAILED, "reason": "no_lungs_found"}
    with transaction(engine) as session:
        put_job_under(session, job_id, policy)
        warnings = [describe(warning) for warning in intake.warnings]
        end(session, job_id, StageName.INTAKE, state=intake.state, facts=dict(intake.facts), warnings=warnings)
        end(session, job_id, StageName.MEDNEXT, facts=make_model_facts(StageName.MEDNEXT, 0.5), **mednext)
        end(session, job_id, StageName.FUSION, state=StageState.READY, next_attempt_at=func.now())
        if features:
            session.add(Feature(job_id=job_id, stage=StageName.MEDNEXT, values=features))


def put_job_under(session: Session, job_id: uuid.UUID, policy: Policy) -> None:
    row = tables.Policy(id=policy.id, name=policy.name, digest=policy.digest, document=policy.to_document())
    session.merge(row)
    session.flush()
    session.get_one(Job, job_id).policy_id = policy.id


def end(session: Session, job_id: uuid.UUID, stage: StageName, **values: object) -> None:
    session.execute(update(StageRun).where(StageRun.job_id == job_id, StageRun.stage == stage).values(**values))


def describe(warning: StageWarning) -> dict[str, object]:
    return {"code": warning.code, **warning.facts}


def fetch(engine: Engine, job_id: uuid.UUID) -> tuple[Job, Result | None]:
    with transaction(engine) as session:
        return session.get_one(Job, job_id), session.get(Result, job_id)


class TestResult:
    def test_a_study_ends_with_one_result_under_its_policy(
        self, engine: Engine, make_job: JobMaker, run_fusion: FusionRunner
    ) -> None:
        job_id = make_job()
        end_models(engine, job_id, POLICY, MASS)
        run_fusion(job_id)
        job, result = fetch(engine, job_id)
        assert result is not None
        assert (job.state, result.policy_id) == (JobState.COMPLETED_PARTIAL, POLICY.id)
        assert result.document["state"] == job.state
        assert result.document["probability_of_pathology"] == result.probability
        assert result.document["time_of_processing"] > 0

    def test_a_second_run_changes_nothing(self, engine: Engine, make_job: JobMaker, run_fusion: FusionRunner) -> None:
        job_id = make_job()
        end_models(engine, job_id, POLICY, MASS)
        run_fusion(job_id)
        _, first = fetch(engine, job_id)
        run_fusion(job_id)
        _, second = fetch(engine, job_id)
        assert first is not None
        assert second is not None
        assert second.document == first.document

    def test_the_warning_of_intake_stands_in_quality(
        self, engine: Engine, make_job: JobMaker, run_fusion: FusionRunner
    ) -> None:
        job_id = make_job()
        end_models(engine, job_id, POLICY, MASS)
        run_fusion(job_id)
        _, result = fetch(engine, job_id)
        assert result is not None
        assert result.document["quality"][0] == {
            "code": "gantry_tilt_corrected",
            "stage": "intake",
            "facts": {"tilt_deg": 12.5},
        }


class TestReports:
    def test_are_kept_as_the_result_lists_them(
        self, engine: Engine, make_job: JobMaker, run_fusion: FusionRunner, store: ObjectStore, tmp_path: Path
    ) -> None:
        job_id = make_job()
        end_models(engine, job_id, POLICY, MASS)
        run_fusion(job_id)
        _, result = fetch(engine, job_id)
        assert result is not None
        listed = {entry["name"]: entry["sha256"] for entry in result.document["artifacts"]}
        with transaction(engine) as session:
            rows = session.scalars(select(Artefact).where(Artefact.job_id == job_id)).all()
            kept = {str(row.kind): row.sha256 for row in rows}
            page = next(row for row in rows if row.kind is ArtefactKind.REPORT_HTML_RU)
            stored = StoredObject(page.key, page.size_bytes, page.sha256)
        assert {name for name in listed if name.startswith("report_")} == {
            f"report_{form}_{language}" for form in ("html", "pdf") for language in ReportLanguage
        }
        assert listed.items() <= kept.items()
        with (tmp_path / "page").open("wb") as file:
            store.fetch(stored, file)
        assert "ТОЛЬКО ДЛЯ ИССЛЕДОВАНИЙ" in (tmp_path / "page").read_text()

    def test_that_cannot_be_made_are_a_warning_and_the_job_ends_well(
        self, engine: Engine, make_job: JobMaker, installed: Settings, store: ObjectStore
    ) -> None:
        hasty = installed.model_copy(update={"report_time_limit": timedelta(milliseconds=1)})
        job_id = make_job()
        end_models(engine, job_id, POLICY, MASS)
        make_runner(engine, hasty, store)(job_id)
        job, result = fetch(engine, job_id)
        assert result is not None
        assert job.state is JobState.COMPLETED_PARTIAL
        assert {"code": "report_not_made", "stage": "fusion", "facts": {}} in result.document["quality"]


class TestTooFewModels:
    def test_the_job_fails_and_says_why(self, engine: Engine, make_job: JobMaker, run_fusion: FusionRunner) -> None:
        job_id = make_job()
        end_models(engine, job_id, POLICY, {})
        run_fusion(job_id)
        job, result = fetch(engine, job_id)
        assert (job.state, result) == (JobState.FAILED, None)
        assert job.problem is not None
        assert (job.problem["code"], job.problem["needed"]) == ("no_model_answered", 1)
        assert job.problem["missing"]["mednext"] == "no_lungs_found"

    def test_a_policy_may_need_none(self, engine: Engine, make_job: JobMaker, run_fusion: FusionRunner) -> None:
        job_id = make_job()
        end_models(engine, job_id, LENIENT, {})
        run_fusion(job_id)
        assert fetch(engine, job_id)[0].state is JobState.COMPLETED_PARTIAL


class TestNotInstalled:
    def test_a_job_ends_at_once(
        self, engine: Engine, settings: Settings, store: ObjectStore, make_job: JobMaker
    ) -> None:
        bare = settings.model_copy(update={"weights_profile": WeightsProfile.NONE})
        assert isinstance(make_stage(bare), AbsentFusion)
        job_id = make_job()
        end_models(engine, job_id, POLICY, MASS)
        make_runner(engine, bare, store)(job_id)
        job, _ = fetch(engine, job_id)
        assert job.state is JobState.FAILED
        assert job.problem is not None
        assert job.problem["code"] == "no_model_answered"
