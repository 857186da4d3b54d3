"""Settings of every server process, from `CTCLIP_*` environment variables. The one place where defaults stand."""

from __future__ import annotations

import os
from datetime import timedelta
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.addresses import is_tamper_proof
from shared.byte_units import GIB, MIB
from shared.precision import PrecisionChoice
from shared.setting_kinds import Bytes, Networks, ReceiptKeyText, Retention

Names = Annotated[
    tuple[str, ...],
    NoDecode,
    BeforeValidator(
        lambda value: (
            [part.strip().lower() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        )
    ),
]
"""Names of hosts, in the environment with commas between them."""


class Authentication(StrEnum):
    """Whether callers must say who they are."""

    OFF = "off"
    REQUIRED = "required"


class SigningAlgorithm(StrEnum):
    """How tokens may be signed: only with a key pair, never with a shared secret."""

    RS256 = "RS256"
    RS384 = "RS384"
    RS512 = "RS512"
    PS256 = "PS256"
    PS384 = "PS384"
    PS512 = "PS512"
    ES256 = "ES256"
    ES384 = "ES384"
    ES512 = "ES512"
    EDDSA = "EdDSA"


SigningAlgorithms = Annotated[
    tuple[SigningAlgorithm, ...],
    Field(min_length=1),
    NoDecode,
    BeforeValidator(lambda value: [part.strip() for part in value.split(",")] if isinstance(value, str) else value),
]
"""Algorithms of signatures, in the environment with commas between them."""


class WeightsProfile(StrEnum):
    """Which weights the models run with."""

    DEMO = "demo"
    FULL = "full"
    NONE = "none"


class ReportLanguage(StrEnum):
    """Languages of the report for people, by their ISO 639-1 code."""

    ENGLISH = "en"
    RUSSIAN = "ru"


ReportLanguages = Annotated[
    tuple[ReportLanguage, ...],
    NoDecode,
    BeforeValidator(
        lambda value: [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    ),
]
"""Languages, in the environment with commas between them; nothing between them is no language at all."""


class Settings(BaseSettings):
    """Typed settings; each field is read from `CTCLIP_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="CTCLIP_", extra="ignore", frozen=True)

    secrets_dir: Path | None = Field(
        default=None,
        description="Folder of files that are named like settings in lower case (`ctclip_database_url`) and hold their "
        "values, as containers get their secrets; a variable of the environment goes before its file.",
    )

    # Where the dependencies are
    database_url: SecretStr = Field(description="`postgresql+psycopg2://user:password@host:port/name`.")
    broker_url: SecretStr = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"),
        description="Celery broker; read by workers and control only.",
    )
    storage_endpoint: str = Field(description="`host:port` of the S3 server.")
    storage_access_key: SecretStr = Field(description="S3 access key.")
    storage_secret_key: SecretStr = Field(description="S3 secret key.")
    storage_bucket: str = Field(default="ctclip", description="Bucket of all objects; made at start if absent.")
    storage_region: str = Field(default="us-east-1", description="S3 region; naming it saves a look-up.")
    storage_secure: bool = Field(default=True, description="Speak HTTPS to the S3 server.")

    # Gateway
    gateway_host: str = Field(default="127.0.0.1", description="Address that the gateway listens on.")
    gateway_port: int = Field(default=8000, description="Port that the gateway listens on.")
    gateway_names: Names = Field(
        default=(),
        description="Names by which the gateway may be called while authentication is `off`, beside those of loopback "
        "(`ctclip.lan,reader.lan`): requests with another `Host` are refused, as pages of the web could send them "
        "through a browser of this machine.",
    )
    upload_limit_bytes: Bytes = Field(default=4 * GIB, description="Largest upload accepted.")
    upload_part_bytes: Bytes = Field(
        default=8 * MIB,
        ge=5 * MIB,
        description="Part size of the multipart put to S3; bounds memory per upload.",
    )
    upload_concurrency: int = Field(
        default=32, gt=0, description="Uploads that one gateway takes in at once; bounds its memory with the part size."
    )
    open_upload_lifetime: timedelta = Field(
        default=timedelta(hours=24),
        gt=timedelta(0),
        description="How long an upload in parts is kept that no job was made of.",
    )
    open_uploads_limit: int = Field(
        default=100, gt=0, description="Uploads in parts that one tenant may have at once, until jobs are made of them."
    )
    compatible_wait_limit: timedelta = Field(
        default=timedelta(minutes=10), description="Longest time that `/predict` holds the connection."
    )
    prefer_wait_limit: timedelta = Field(
        default=timedelta(minutes=1), description="Longest time that a submission with `Prefer: wait=N` is held."
    )
    event_streams_limit: int = Field(
        default=200, gt=0, description="Streams of events that one gateway holds open at once."
    )
    event_heartbeat: timedelta = Field(
        default=timedelta(seconds=15), description="How often a stream of events without news sends a comment."
    )
    gateway_shutdown_grace: timedelta = Field(
        default=timedelta(seconds=20), description="How long a stopping gateway lets uploads and downloads finish."
    )
    idempotency_retention: timedelta = Field(
        default=timedelta(hours=48), description="How long an Idempotency-Key is remembered."
    )

    # Access
    authentication: Authentication = Field(
        default=Authentication.OFF,
        description="`required`: callers need an API key or a token. While it is `off`, the gateway listens on "
        "loopback only.",
    )
    rate_limit_per_minute: int = Field(
        default=1200, gt=0, description="Requests a minute that one key or token may keep sending, over all gateways."
    )
    rate_limit_burst: int = Field(
        default=200, gt=0, description="Requests that one key or token may send at once, having been quiet before."
    )
    tenant_rate_limit_per_minute: int = Field(
        default=4800, gt=0, description="Requests a minute that all keys and tokens of one tenant may keep sending."
    )
    tenant_rate_limit_burst: int = Field(
        default=800, gt=0, description="Requests that all keys and tokens of one tenant may send at once."
    )
    refused_limit_per_minute: int = Field(
        default=120,
        gt=0,
        description="Keys and tokens that are not valid which one address may send a minute before it gets 429; valid "
        "ones from the same address are never refused for it.",
    )
    tenant_upload_concurrency: int = Field(
        default=16,
        gt=0,
        description="Bodies that one gateway takes in at once from one tenant, while authentication is `required`.",
    )
    tenant_upload_patience: timedelta = Field(
        default=timedelta(seconds=15),
        ge=timedelta(0),
        description="How long a further body of the tenant waits for its turn before it is refused.",
    )
    oidc_issuer: str | None = Field(
        default=None, description="Issuer whose tokens are accepted beside API keys, such as `https://id.example.org`."
    )
    oidc_audience: str | None = Field(
        default=None, description="Audience that tokens must be meant for; must be set beside an issuer."
    )
    oidc_jwks_url: str | None = Field(
        default=None, description="Where the issuer's keys are; by default its discovery document says so."
    )
    oidc_algorithms: SigningAlgorithms = Field(
        default=(SigningAlgorithm.RS256, SigningAlgorithm.ES256),
        description="Signatures of tokens that are accepted (`RS256,ES256`).",
    )
    oidc_tenant_claim: str = Field(
        default="tenant", description="Claim of a token that names its tenant; `a.b` leads into an object."
    )
    oidc_scope_claim: str = Field(
        default="scope", description="Claim of a token with its scopes: a list, or a text with spaces between."
    )

    # Jobs
    job_time_limit: timedelta = Field(
        default=timedelta(hours=6),
        description="A job that has not ended after this is failed, queueing included.",
    )
    policy: str = Field(default="default", description="Name of the policy under which jobs are accepted.")
    policies_dir: Path | None = Field(
        default=None,
        description="Folder with policies of your own (`*.toml`), beside those that come with the platform.",
    )
    reuse: bool = Field(
        default=True,
        description="Answer a model's stage from an earlier job of the same tenant where pixels, weights, code and "
        "all else that its answer is made from are the same (`docs/reproducing.md`); `reuse=false` of a job asks for "
        "none.",
    )

    receipt_key: ReceiptKeyText | None = Field(
        default=None,
        description="Ed25519 key that receipts of results are signed with: 32 bytes in hexadecimal; none are signed "
        "without it. For gateway and fusion alone. `ctclip up` makes its own.",
    )

    # Privacy
    pseudonym_key: SecretStr | None = Field(
        default=None,
        description="Secret of at least 32 bytes that pseudonyms of patients are made with; intake does not start "
        "without it. `ctclip up` makes its own.",
    )
    upload_retention: Retention = Field(
        default=timedelta(hours=24),
        description="How long an upload and the names of its files are kept after the job ended; also `0`, `forever`.",
    )
    volume_retention: Retention = Field(
        default=None,
        description="How long the volume made of an upload is kept after the job ended; `forever` when not set.",
    )

    # Webhooks
    webhook_allowed_networks: Networks = Field(
        default=(),
        description="Internal networks that webhooks may be sent to (`10.1.0.0/16,fd00::/8`), also by plain HTTP; all "
        "other private, loopback and link-local addresses are refused. `ctclip up` allows loopback when not set.",
    )
    webhook_timeout: timedelta = Field(
        default=timedelta(seconds=15), description="Longest time of one try to deliver a webhook, all included."
    )
    webhook_secret_overlap: timedelta = Field(
        default=timedelta(hours=24), description="How long messages are signed with the old secret too, once rotated."
    )
    webhook_log_retention: timedelta = Field(
        default=timedelta(days=30), description="How long the log of deliveries is kept, and can be replayed from."
    )

    # Queue and space
    queue_limit: int = Field(
        default=150_000, gt=0, description="Jobs that may be open at once; further submissions are refused with 503."
    )
    tenant_queue_limit: int | None = Field(
        default=None, gt=0, description="Jobs of one tenant that may be open at once; no limit of its own when not set."
    )
    tenant_storage_limit_bytes: Bytes | None = Field(
        default=None, description="Most bytes that the objects of one tenant may take, as counted every five minutes."
    )
    storage_watch_dir: Path | None = Field(
        default=None,
        description="Folder on the disk that the object storage writes to, where the gateway can see it; submissions "
        "are refused with 507 while less than `CTCLIP_STORAGE_RESERVE_BYTES` is free there. `ctclip up` names its own.",
    )
    storage_reserve_bytes: Bytes = Field(default=2 * GIB, description="Free space that submissions leave to workers.")
    scratch_reserve_bytes: Bytes = Field(
        default=GIB, description="Free space on the disk of `CTCLIP_CACHE_DIR` below which a worker begins no stage."
    )
    broker_window: int = Field(
        default=500,
        gt=0,
        description="Messages of one stage that the broker holds at once, and up to twice as many for urgent ones; the "
        "others wait in the database, in the order of their turns.",
    )

    # Leases and retries
    lease_duration: timedelta = Field(
        default=timedelta(seconds=30), description="How long a claim holds without a heartbeat."
    )
    transient_retry_limit: int = Field(default=5, description="Retries of one stage after transient faults.")
    transient_retry_delay: timedelta = Field(
        default=timedelta(seconds=2), description="First delay after a transient fault; doubles each time."
    )
    defect_retry_limit: int = Field(default=1, description="Retries of one stage after a defect.")
    lost_worker_limit: int = Field(default=3, description="How often a stage may lose its worker before it fails.")

    # Intake limits
    archive_limit_bytes: Bytes = Field(default=8 * GIB, description="Most bytes that an archive may expand to.")
    archive_limit_entries: int = Field(default=50_000, description="Most entries of an archive.")
    archive_nesting: int = Field(
        default=0, ge=0, le=1, description="1: ZIPs inside the archive are opened, within the same budgets; 0: refused."
    )
    intake_threads: int = Field(
        default=0, ge=0, description="Threads that inflate and decode one study; 0: one for each core."
    )
    intake_memory_limit_bytes: Bytes = Field(
        default=6 * GIB, description="Address space of the child process that decodes a study."
    )

    # Workers
    weights_profile: WeightsProfile = Field(default=WeightsProfile.DEMO, description="Which weights to run.")
    weights_dir: Path | None = Field(default=None, description="Folder of imported weights (profile `full`).")
    cache_dir: Path = Field(default=Path.home() / ".cache" / "ctclip", description="Local copies of artefacts.")
    cache_limit_bytes: Bytes = Field(default=10 * GIB, description="Size that the local artefact cache is kept under.")
    cache_retention: Annotated[timedelta, Field(ge=timedelta(minutes=10))] = Field(
        default=timedelta(hours=1), description="How long a worker keeps a local copy that no stage asks for."
    )
    threads: int | None = Field(default=None, description="Threads of a model; default: all cores.")
    precision: PrecisionChoice = Field(
        default=PrecisionChoice.AUTO,
        description="Arithmetic of the networks. `fp32`: float32 (MedNeXt on a GPU: float16, as its reference). "
        "`auto`: bfloat16 for each model of which `ctclip models precision` has measured, for these weights and this "
        "kind of device, on four studies or more, that every probability stays within 0.01 and that it is faster by "
        "5 %; `fp32` for all others, so for all until it was measured. With `bf16` a worker starts only where it was "
        "measured to be near enough.",
    )
    compile_networks: bool = Field(
        default=False,
        description="Let torch compile the networks at start; needs a C++ compiler. It hardly pays on a CPU: for "
        "CT-CLIP, on two AVX2 cores, 0.94 to 0.98 of the time of a study for 15 to 40 s of compiling; MedNeXt stays "
        "as it is.",
    )
    report_languages: ReportLanguages = Field(
        default=(ReportLanguage.ENGLISH, ReportLanguage.RUSSIAN),
        description="Languages in which the fusion leaves a report for people (HTML and PDF) beside each result; with "
        "nothing after the `=` it leaves none.",
    )
    report_time_limit: timedelta = Field(
        default=timedelta(seconds=60),
        description="How long a result waits at most for its PDFs; after that it comes without reports.",
    )
    shutdown_grace: timedelta = Field(
        default=timedelta(seconds=8),
        description="How long a stopping worker lets its stages finish before it hands them back.",
    )
    metrics_port: int | None = Field(
        default=None,
        description="Port for the metrics of a worker, of delivery or of control (`docs/metrics.md`); the gateway "
        "answers `/metrics` on its own port. `ctclip up` gives each of its processes one.",
    )
    metrics_host: str = Field(
        default="127.0.0.1",
        description="Address that `CTCLIP_METRICS_PORT` is opened on: nobody is asked for a key there, so name one "
        "that only the monitoring reaches.",
    )
    traces_endpoint: str | None = Field(
        default=None,
        description="OpenTelemetry collector that spans are sent to by OTLP over HTTP, such as "
        "`http://collector:4318`; none are recorded without it.",
    )
    ready_file: Path | None = Field(default=None, description="Made by a process once it is ready to serve.")
    self_check_interval: timedelta = Field(
        default=timedelta(hours=24),
        ge=timedelta(0),
        description="How often a phantom goes through the whole platform and is held against what the same weights "
        "said before; `PT0S`: never.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        default="INFO", description="Least severe level of what we log; libraries are heard from `WARNING` on."
    )

    @model_validator(mode="after")
    def _check_oidc(self) -> Self:
        if self.oidc_issuer is not None and self.oidc_audience is None:
            raise ValueError("CTCLIP_OIDC_ISSUER needs CTCLIP_OIDC_AUDIENCE: tokens for other services are not ours")
        for url in filter(None, (self.oidc_issuer, self.oidc_jwks_url)):
            if not is_tamper_proof(url):
                raise ValueError("CTCLIP_OIDC_ISSUER and CTCLIP_OIDC_JWKS_URL must be HTTPS, but for loopback")
        return self

    @property
    def heartbeat_interval(self) -> timedelta:
        """How often a lease is renewed: two beats may be lost before it lapses."""
        return self.lease_duration / 3


@cache
def get_settings() -> Settings:
    """Return the settings of this process, read once: from the environment, then from the files of secrets."""
    return Settings(_secrets_dir=os.environ.get("CTCLIP_SECRETS_DIR") or None)
