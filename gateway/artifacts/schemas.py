"""Bodies of artefacts."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from gateway.jobs.schemas import make_job_path
from shared.stages import StageName
from shared.tables import Artefact


class ArtifactBody(BaseModel):
    """One artefact."""

    name: str
    media_type: str
    size_bytes: int
    sha256: str
    href: str
    stage: StageName | None = Field(description="Which stage made it.")
    created_at: datetime


class ArtifactList(BaseModel):
    """All artefacts of a job."""

    items: list[ArtifactBody]
    next_cursor: str | None = None


def describe_artifact(artefact: Artefact) -> ArtifactBody:
    """Return an artefact as callers see it."""
    return ArtifactBody(
        name=artefact.kind,
        media_type=artefact.media_type,
        size_bytes=artefact.size_bytes,
        sha256=artefact.sha256,
        href=f"{make_job_path(artefact.job_id)}/artifacts/{artefact.kind}",
        stage=artefact.stage,
        created_at=artefact.created_at,
    )
