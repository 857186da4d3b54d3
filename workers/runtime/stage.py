"""The stage contract: what a stage is given and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from shared.artefacts import ArtefactKind, UploadKind
from shared.json_values import JsonObject
from shared.problems import Problem
from shared.stages import StageName
from shared.tables import Base

ANSWERED = "answered"
"""Fact of the fusion: how many models gave it something to weigh. The job is complete when all did."""


@dataclass(frozen=True)
class StageWarning:
    """A named warning with its facts; it ends up in `quality` of the result."""

    code: str
    facts: JsonObject = field(default_factory=dict)


@dataclass(frozen=True)
class ProducedArtefact:
    """A file that the stage wrote into its scratch folder and wants kept."""

    kind: ArtefactKind
    path: Path
    media_type: str
    facts: JsonObject = field(default_factory=dict)


@dataclass(frozen=True)
class StageOutput:
    """Everything that a stage wants written in the transaction that completes it.

    `features` are named numbers; a value that is not known is left out or NaN, never 0.
    `facts` describe the run (model name, version, digest, seconds).
    `rows` are extra rows of the stage's own tables; the runtime sets their `job_id`.
    `rejection` ends the job as rejected; features and artefacts are then not kept, all else is.
    `patient_pseudonym` links the job to others of the same patient; only intake knows it.
    `split_into` names the studies (StudyInstanceUIDs) for each of which a rejected job leaves a job of its own.
    """

    features: Mapping[str, float] = field(default_factory=dict)
    artefacts: Sequence[ProducedArtefact] = ()
    warnings: Sequence[StageWarning] = ()
    facts: JsonObject = field(default_factory=dict)
    rows: Sequence[Base] = ()
    rejection: Problem | None = None
    split_into: Sequence[str] = ()
    patient_pseudonym: str | None = None


@dataclass(frozen=True)
class StageRecord:
    """How another stage of the same job ended; fusion reads these.

    `reused_from` is the job that answered it, where it was not run; its facts tell the times of that run.
    """

    name: StageName
    state: str
    reason: str | None
    facts: JsonObject
    warnings: Sequence[StageWarning]
    features: Mapping[str, float]
    seconds: float | None
    reused_from: str | None = None


@dataclass(frozen=True)
class ArtefactRecord:
    """An artefact that the job has so far; its kind is also its public name."""

    kind: ArtefactKind
    media_type: str
    size_bytes: int
    sha256: str
    facts: JsonObject = field(default_factory=dict)


class StageContext(Protocol):
    """What a running stage may ask of the runtime."""

    @property
    def job_id(self) -> str:
        """Identifier of the job."""

    @property
    def tenant(self) -> str:
        """Whose job it is."""

    @property
    def options(self) -> JsonObject:
        """Options of the submission (`series_instance_uid`, ...)."""

    @property
    def policy(self) -> JsonObject:
        """The policy document that the job was accepted under."""

    @property
    def upload_kind(self) -> UploadKind:
        """How the upload is packed."""

    @property
    def scratch(self) -> Path:
        """Empty folder of this run; removed afterwards."""

    def presign_upload(self) -> str:
        """Return an address from which the upload can be read, in ranges and without credentials."""

    def fetch_artefact(self, kind: ArtefactKind) -> Path:
        """Return a local read-only copy of an artefact of this job, checked against its digest."""

    def fetch_records(self) -> Mapping[StageName, StageRecord]:
        """Return how the stages of this job ended so far, with their features."""

    def fetch_artefact_records(self) -> Sequence[ArtefactRecord]:
        """Return what stands in storage for this job so far, the upload included."""

    def fetch_elapsed_s(self) -> float:
        """Return the seconds since the job was accepted, by the database's clock."""

    def report(self, progress: float) -> None:
        """Publish progress (0..1). Raises StageCancelled or StaleLease when the work is no longer wanted."""


class Stage(Protocol):
    """One step of the pipeline. The runtime does leases, retries, files and transactions around it."""

    @property
    def name(self) -> StageName:
        """Which stage this is; needs, queue and time limit stand in `shared.stages`."""

    def run(self, context: StageContext) -> StageOutput:
        """Do the work. Raises InputProblem, TransientFault or Defect."""


@runtime_checkable
class AdmittingStage(Stage, Protocol):
    """A stage whose work on large volumes may have to wait for memory."""

    def admit(self, shape_zyx: tuple[int, int, int]) -> AbstractContextManager[bool]:
        """Set aside what a volume of this shape will take; False inside where memory is too short for it now.

        True where it will always be: `run` is to end such work with a problem, for no waiting helps.
        """
