"""Python client of the CT-CLIP Inference API and the `ctclip` command. Light: httpx, openpyxl, rich and typer.

from client import Client

with Client("http://localhost:8000") as api:
    job = api.wait(api.submit("study.zip").id)
    print(api.fetch_result(job.id).probability_of_pathology)

`AsyncClient` has the same methods for programs with an event loop.
"""

from client.api import Client
from client.asynchronous import AsyncClient
from client.documents import Erasure, Event, Job, Problem, ResultDocument, StageProgress
from client.errors import ApiError, ClientError, Damaged, JobFailed, Unreachable, WaitExpired
from client.results import ArtifactLink, FindingResult, MissingResult, ModelResult, QualityNote, StudyResult

__all__ = [
    "ApiError",
    "ArtifactLink",
    "AsyncClient",
    "Client",
    "ClientError",
    "Damaged",
    "Erasure",
    "Event",
    "FindingResult",
    "Job",
    "JobFailed",
    "MissingResult",
    "ModelResult",
    "Problem",
    "QualityNote",
    "ResultDocument",
    "StageProgress",
    "StudyResult",
    "Unreachable",
    "WaitExpired",
]
