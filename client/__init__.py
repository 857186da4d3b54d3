"""Python client of the CT-CLIP Inference API and the `ctclip` command. Needs httpx, rich and typer, nothing else.

from client import Client

with Client("http://localhost:8000") as api:
    job = api.wait(api.submit("study.zip").id)
    print(api.fetch_result(job.id)["probability_of_pathology"])
"""

from client.api import Client
from client.documents import Job, Problem, ResultDocument, StageProgress
from client.errors import ApiError, ClientError, JobFailed, Unreachable, WaitExpired

__all__ = [
    "ApiError",
    "Client",
    "ClientError",
    "Job",
    "JobFailed",
    "Problem",
    "ResultDocument",
    "StageProgress",
    "Unreachable",
    "WaitExpired",
]
