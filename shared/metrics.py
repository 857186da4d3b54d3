"""Metrics that processes count themselves, by what they tell of. `docs/metrics.md` is made from here.

What stands in rows is not counted here but read from them by control: `workers/control/row_metrics.py`. Labels are
words of ours (stages, states, codes); never an id, and nothing that a study or a caller wrote.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram, start_http_server
from prometheus_client.metrics import MetricWrapperBase

from shared.notices import NoticeCode
from shared.problems import ProblemCode, archives, faults, studies
from shared.settings import Settings
from shared.stages import MODELS, StageName
from shared.states import JobState, StageState

_REQUEST_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_DURATION_BUCKETS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_JOB_BUCKETS_S = (1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600, 7200, 21600)
_SPACING_BUCKETS_MM = (0.3, 0.5, 0.625, 0.8, 1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 7, 10)
_PIXEL_BUCKETS_MM = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.25, 1.5, 2, 3)
_SLICE_BUCKETS = (20, 40, 60, 80, 100, 150, 200, 300, 400, 600, 800, 1200)
_CANDIDATE_BUCKETS = (1, 2, 3, 4, 6, 8, 12, 20)
_SCORE_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)

_REJECTED_BEFORE_READING = (ProblemCode.EMPTY_UPLOAD, ProblemCode.NOT_AN_ARCHIVE)
"""Codes of requests with which intake rejects a job too."""

REQUEST_SECONDS = Histogram(
    "ctclip_request_seconds",
    "Seconds from a request's headers to the end of its answer.",
    ("method", "route", "status"),
    buckets=_REQUEST_BUCKETS_S,
)
PROBLEMS = Counter("ctclip_problems_total", "HTTP problems by code.", ("code",))
UPLOAD_BYTES = Counter("ctclip_upload_bytes_total", "Bytes of uploads accepted.")

JOBS_ENDED = Counter("ctclip_jobs_ended_total", "Jobs by final state and problem code.", ("state", "code"))
JOB_SECONDS = Histogram(
    "ctclip_job_seconds",
    "Seconds from the submission of a job to its end, queueing included.",
    ("state",),
    buckets=_JOB_BUCKETS_S,
)
RESULT_MODELS = Counter(
    "ctclip_result_models_total",
    "What became of each model in published results: `succeeded`, or why its answer is missing.",
    ("model", "state"),
)

STAGES_ENDED = Counter("ctclip_stages_ended_total", "Stages by how they ended.", ("stage", "state", "code"))
STAGE_SECONDS = Histogram("ctclip_stage_seconds", "Seconds that a stage ran.", ("stage",), buckets=_DURATION_BUCKETS_S)
STAGE_STEP_SECONDS = Histogram(
    "ctclip_stage_step_seconds",
    "Seconds of one step of a stage: of a model `prepare`, `wait` for the device, `predict` and `render`.",
    ("stage", "step"),
    buckets=_DURATION_BUCKETS_S,
)
STAGE_FAULTS = Counter(
    "ctclip_stage_faults_total",
    "Tries of stages that broke off, retried ones included: by `kind` (`transient`, `defect`) and problem code.",
    ("stage", "kind", "code"),
)
STAGES_POSTPONED = Counter(
    "ctclip_stages_postponed_total", "Stages put off by what was short (`memory`, `disk`).", ("stage", "short")
)
STAGES_REUSED = Counter("ctclip_stages_reused_total", "Stages that an earlier job's answer ended.", ("stage",))
LEASES_REAPED = Counter("ctclip_leases_reaped_total", "Leases that lapsed and were taken back.", ("stage",))
OUTBOX_RELAYED = Counter("ctclip_outbox_relayed_total", "Messages handed to the broker.", ("stage",))

MODEL_LOAD_SECONDS = Gauge(
    "ctclip_model_load_seconds", "Seconds that this process took to get a model ready, warm-up included.", ("stage",)
)
MODEL_WARM_UP_SECONDS = Gauge(
    "ctclip_model_warm_up_seconds", "Seconds of the warm-up, in which the known answer is checked.", ("stage",)
)
MODEL_PEAK_BYTES = Gauge(
    "ctclip_model_peak_memory_bytes",
    "Most memory at the latest run of a model: `device` of the GPU in that run, `host` of the process since its start.",
    ("stage", "place"),
)
MODEL_INFO = Gauge(
    "ctclip_model_info",
    "1 for each model that a worker has loaded.",
    ("stage", "name", "version", "digest", "weights_profile"),
)

SLICE_SPACING_MM = Histogram(
    "ctclip_study_slice_spacing_mm", "Distance of the slices of the chosen series.", buckets=_SPACING_BUCKETS_MM
)
SLICE_THICKNESS_MM = Histogram(
    "ctclip_study_slice_thickness_mm",
    "Thickness of the slices of the chosen series, where its headers name one.",
    buckets=_SPACING_BUCKETS_MM,
)
PIXEL_SPACING_MM = Histogram(
    "ctclip_study_pixel_spacing_mm", "Distance of the rows of the chosen series.", buckets=_PIXEL_BUCKETS_MM
)
STUDY_SLICES = Histogram("ctclip_study_slices", "Slices of the chosen series.", buckets=_SLICE_BUCKETS)
STUDY_CANDIDATES = Histogram(
    "ctclip_study_candidates", "Stacks of slices among which one was chosen.", buckets=_CANDIDATE_BUCKETS
)
CHOICE_SCORE = Histogram("ctclip_study_choice_score", "Score of the chosen series.", buckets=_SCORE_BUCKETS)
CHOICE_MARGIN = Histogram(
    "ctclip_study_choice_margin",
    "By how much the score of the chosen series is above the next one's; a small one says that the choice was close.",
    buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1),
)
STUDY_WARNINGS = Counter("ctclip_study_warnings_total", "What was odd about studies that were read.", ("code",))
UPLOAD_FILES = Counter("ctclip_upload_files_total", "Files of uploads by what became of them.", ("outcome", "code"))

WEBHOOK_TRIES = Counter("ctclip_webhook_tries_total", "Tries to deliver webhooks, by outcome.", ("outcome",))
WEBHOOK_TRY_SECONDS = Histogram(
    "ctclip_webhook_try_seconds", "Seconds of one try to deliver a webhook.", buckets=_DURATION_BUCKETS_S
)
WEBHOOK_LAG_SECONDS = Histogram(
    "ctclip_webhook_lag_seconds",
    "Seconds from the moment a webhook was due to the beginning of its try.",
    buckets=_DURATION_BUCKETS_S,
)

DISK_FREE_BYTES = Gauge("ctclip_disk_free_bytes", "Free bytes of the disk that holds the process's cache.")
DISK_BYTES = Gauge("ctclip_disk_size_bytes", "Bytes of the disk that holds the process's cache.")
ARTEFACTS_EXPIRED = Counter("ctclip_artefacts_expired_total", "Artefacts that retention removed.", ("kind",))

SELF_CHECK_PASSED = Gauge(
    "ctclip_self_check_passed", "1 where the last self-check passed, 0 where it failed, NaN before the first."
)
SELF_CHECK_PASSED.set(math.nan)  # every process shows it, and control alone knows better
SELF_CHECK_AT = Gauge("ctclip_self_check_timestamp_seconds", "When the last self-check was judged.")
FEATURE_DRIFT = Gauge(
    "ctclip_feature_drift_psi",
    "Population stability index, beyond chance, of the feature of a model that moved most, by part of the studies.",
    ("model", "part"),
)

GROUPS: Mapping[str, Sequence[MetricWrapperBase]] = {
    "Requests": (REQUEST_SECONDS, PROBLEMS, UPLOAD_BYTES),
    "Jobs and results": (JOBS_ENDED, JOB_SECONDS, RESULT_MODELS),
    "Stages": (
        *(STAGES_ENDED, STAGE_SECONDS, STAGE_STEP_SECONDS, STAGE_FAULTS, STAGES_POSTPONED, STAGES_REUSED),
        *(LEASES_REAPED, OUTBOX_RELAYED),
    ),
    "Models": (MODEL_LOAD_SECONDS, MODEL_WARM_UP_SECONDS, MODEL_PEAK_BYTES, MODEL_INFO),
    "Studies": (
        *(SLICE_SPACING_MM, SLICE_THICKNESS_MM, PIXEL_SPACING_MM, STUDY_SLICES, STUDY_CANDIDATES),
        *(CHOICE_SCORE, CHOICE_MARGIN, STUDY_WARNINGS, UPLOAD_FILES),
    ),
    "Webhooks": (WEBHOOK_TRIES, WEBHOOK_TRY_SECONDS, WEBHOOK_LAG_SECONDS),
    "Storage": (DISK_FREE_BYTES, DISK_BYTES, ARTEFACTS_EXPIRED),
    "Self-check": (SELF_CHECK_PASSED, SELF_CHECK_AT, FEATURE_DRIFT),
}
"""Every metric of this module, by what it tells of."""


PROBLEMS.labels(code=ProblemCode.INTERNAL_ERROR)
PROBLEMS.labels(code=ProblemCode.NO_SPACE)


def serve_metrics(settings: Settings, stages: Collection[StageName] = ()) -> None:
    """Answer Prometheus on a port of its own, where the settings name one.

    What may be counted later begins at zero now: a rate needs a first value, and an alert something to look at.
    """
    if not settings.metrics_port:
        return
    _begin_at_zero(stages)
    folder = next(place for place in (settings.cache_dir, *settings.cache_dir.parents) if place.exists())
    DISK_FREE_BYTES.set_function(lambda: _read_disk(folder)[0])
    DISK_BYTES.set_function(lambda: _read_disk(folder)[1])
    start_http_server(settings.metrics_port, addr=settings.metrics_host)


def _begin_at_zero(stages: Collection[StageName]) -> None:
    _begin_endings_at_zero()
    for outcome in ("delivered", "refused", "timeout", "connection_failed"):
        WEBHOOK_TRIES.labels(outcome=outcome)
    for model in MODELS:
        RESULT_MODELS.labels(model=model, state=StageState.SUCCEEDED)
        RESULT_MODELS.labels(model=model, state=StageState.FAILED)
    for stage in StageName:
        LEASES_REAPED.labels(stage=stage)
        OUTBOX_RELAYED.labels(stage=stage)
    for stage in stages:
        _begin_stage_at_zero(stage)


def _begin_endings_at_zero() -> None:
    """A job that fails or is rejected ends with a code; the others end without one."""
    for code in faults.KINDS:
        JOBS_ENDED.labels(state=JobState.FAILED, code=code)
    for code in (*archives.KINDS, *studies.KINDS, *_REJECTED_BEFORE_READING):
        JOBS_ENDED.labels(state=JobState.REJECTED, code=code)
    for state in (JobState.COMPLETED, JobState.COMPLETED_PARTIAL, JobState.CANCELLED):
        JOBS_ENDED.labels(state=state, code="")


def _begin_stage_at_zero(stage: StageName) -> None:
    STAGES_ENDED.labels(stage=stage, state=StageState.SUCCEEDED, code="")
    STAGES_ENDED.labels(stage=stage, state=StageState.FAILED, code=ProblemCode.INTERNAL_ERROR)
    STAGE_FAULTS.labels(stage=stage, kind="transient", code=ProblemCode.STORAGE_UNAVAILABLE)
    STAGE_FAULTS.labels(stage=stage, kind="defect", code=ProblemCode.INTERNAL_ERROR)
    STAGE_SECONDS.labels(stage=stage)
    for short in ("memory", "disk"):
        STAGES_POSTPONED.labels(stage=stage, short=short)
    STAGES_REUSED.labels(stage=stage)
    if stage is StageName.INTAKE:
        for code in NoticeCode:
            STUDY_WARNINGS.labels(code=code)


def _read_disk(folder: Path) -> tuple[int, int]:
    usage = shutil.disk_usage(folder)
    return usage.free, usage.total
