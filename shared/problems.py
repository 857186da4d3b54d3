"""The catalogue of problem codes: one vocabulary for HTTP, jobs, webhooks, metrics and documents (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from shared.json_values import JsonObject, JsonValue


class ProblemCode(StrEnum):
    """Every code that a caller may meet. The meaning of each stands in `CATALOGUE`."""

    # The request
    EMPTY_UPLOAD = "empty_upload"
    NOT_AN_ARCHIVE = "not_an_archive"
    UPLOAD_TOO_LARGE = "upload_too_large"
    UPLOAD_INTERRUPTED = "upload_interrupted"
    MALFORMED_REQUEST = "malformed_request"
    VALIDATION_FAILED = "validation_failed"
    IDEMPOTENCY_KEY_INVALID = "idempotency_key_invalid"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    IDEMPOTENCY_KEY_IN_FLIGHT = "idempotency_key_in_flight"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    JOB_NOT_FOUND = "job_not_found"
    JOB_NOT_FINISHED = "job_not_finished"
    JOB_HAS_NO_RESULT = "job_has_no_result"
    INTAKE_NOT_FINISHED = "intake_not_finished"

    # The archive
    ARCHIVE_CORRUPT = "archive_corrupt"
    ARCHIVE_TRUNCATED = "archive_truncated"
    ARCHIVE_EXPANDS_TOO_FAR = "archive_expands_too_far"
    ARCHIVE_OVERLAPPING_ENTRIES = "archive_overlapping_entries"
    ARCHIVE_TOO_MANY_ENTRIES = "archive_too_many_entries"
    ARCHIVE_UNSAFE_PATH = "archive_unsafe_path"
    ARCHIVE_LINK_ENTRY = "archive_link_entry"
    ARCHIVE_ENCRYPTED = "archive_encrypted"
    ARCHIVE_NESTED = "archive_nested"
    ARCHIVE_METHOD_UNSUPPORTED = "archive_method_unsupported"

    # The study
    NO_DICOM_IMAGES = "no_dicom_images"
    WRONG_MODALITY = "wrong_modality"
    MIXED_STUDIES = "mixed_studies"
    PHANTOM_STUDY = "phantom_study"
    SERIES_NOT_FOUND = "series_not_found"
    NO_USABLE_SERIES = "no_usable_series"
    INSUFFICIENT_COVERAGE = "insufficient_coverage"
    NO_LUNGS_FOUND = "no_lungs_found"
    MISSING_REQUIRED_TAGS = "missing_required_tags"
    INVALID_GEOMETRY = "invalid_geometry"
    INVALID_RESCALE = "invalid_rescale"
    SLICE_GAP = "slice_gap"
    CONFLICTING_DUPLICATES = "conflicting_duplicates"
    SERIES_INCOMPLETE = "series_incomplete"
    TRANSFER_SYNTAX_UNSUPPORTED = "transfer_syntax_unsupported"
    UNDECODABLE = "undecodable"
    NIFTI_UNREADABLE = "nifti_unreadable"

    # Ours
    NO_MODEL_ANSWERED = "no_model_answered"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    RETRIES_EXHAUSTED = "retries_exhausted"
    WORKER_LOST = "worker_lost"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    DATABASE_UNAVAILABLE = "database_unavailable"
    BROKER_UNAVAILABLE = "broker_unavailable"
    NO_SPACE = "no_space"
    NOT_READY = "not_ready"
    INTERNAL_ERROR = "internal_error"


@dataclass(frozen=True)
class ProblemKind:
    """What a code means: `status` when it is an HTTP answer, `advice` for whoever must act."""

    title: str
    status: int
    advice: str


CATALOGUE: Mapping[ProblemCode, ProblemKind] = {
    ProblemCode.EMPTY_UPLOAD: ProblemKind(
        "The upload is empty", 400, "Send the ZIP or NIfTI as the `file` field or as the raw body."
    ),
    ProblemCode.NOT_AN_ARCHIVE: ProblemKind(
        "Neither a ZIP nor a NIfTI file",
        415,
        "Pack the DICOM files of one study into a ZIP. The kind is judged by the first bytes, not by the name.",
    ),
    ProblemCode.UPLOAD_TOO_LARGE: ProblemKind(
        "The upload is too large",
        413,
        "Send one study only, or ask the operator to raise `CTCLIP_UPLOAD_LIMIT_BYTES`.",
    ),
    ProblemCode.UPLOAD_INTERRUPTED: ProblemKind(
        "The upload ended early", 400, "The connection closed before the whole body came. Send it again."
    ),
    ProblemCode.MALFORMED_REQUEST: ProblemKind(
        "The request cannot be read",
        400,
        "Check the multipart body: one `file` field, a boundary, a proper end.",
    ),
    ProblemCode.VALIDATION_FAILED: ProblemKind(
        "The request has wrong or unknown fields",
        422,
        "`errors` names each field; the API reference lists the right ones.",
    ),
    ProblemCode.IDEMPOTENCY_KEY_INVALID: ProblemKind(
        "The Idempotency-Key cannot be used", 400, "Send 1 to 255 printable ASCII characters, such as a UUID."
    ),
    ProblemCode.IDEMPOTENCY_KEY_REUSED: ProblemKind(
        "The Idempotency-Key was used for another payload", 422, "Use a new key for a new study."
    ),
    ProblemCode.IDEMPOTENCY_KEY_IN_FLIGHT: ProblemKind(
        "The first request with this Idempotency-Key is still running",
        409,
        "Wait as `Retry-After` says, then repeat.",
    ),
    ProblemCode.NOT_FOUND: ProblemKind("No such page", 404, "See the API reference at `/docs`."),
    ProblemCode.METHOD_NOT_ALLOWED: ProblemKind(
        "The method does not fit the address", 405, "See the `Allow` header and the API reference at `/docs`."
    ),
    ProblemCode.JOB_NOT_FOUND: ProblemKind("No such job", 404, "Check the id; jobs of other tenants are not shown."),
    ProblemCode.JOB_NOT_FINISHED: ProblemKind("The job has not finished", 409, "Poll the job as `Retry-After` says."),
    ProblemCode.JOB_HAS_NO_RESULT: ProblemKind(
        "The job ended without a result", 409, "`job_problem` says why. Mend the cause and submit again."
    ),
    ProblemCode.INTAKE_NOT_FINISHED: ProblemKind(
        "The upload has not been read yet", 409, "Poll the job as `Retry-After` says."
    ),
    ProblemCode.ARCHIVE_CORRUPT: ProblemKind(
        "The archive is damaged", 422, "Make the ZIP again and check it with `unzip -t`."
    ),
    ProblemCode.ARCHIVE_TRUNCATED: ProblemKind(
        "The archive is cut short", 422, "The central directory at the end is missing. Send the whole file."
    ),
    ProblemCode.ARCHIVE_EXPANDS_TOO_FAR: ProblemKind(
        "The archive expands beyond the limit", 422, "Send one study only. `limit_bytes` names the limit."
    ),
    ProblemCode.ARCHIVE_OVERLAPPING_ENTRIES: ProblemKind(
        "Entries of the archive share bytes", 422, "Make the ZIP with an ordinary packer."
    ),
    ProblemCode.ARCHIVE_TOO_MANY_ENTRIES: ProblemKind(
        "The archive has too many entries", 422, "Send one study only. `limit_entries` names the limit."
    ),
    ProblemCode.ARCHIVE_UNSAFE_PATH: ProblemKind(
        "An entry's name points outside the archive",
        422,
        "Make the ZIP with relative names and without `..`.",
    ),
    ProblemCode.ARCHIVE_LINK_ENTRY: ProblemKind(
        "The archive holds a link or a device", 422, "Pack the files themselves (`zip` without `-y`)."
    ),
    ProblemCode.ARCHIVE_ENCRYPTED: ProblemKind(
        "The archive is encrypted", 422, "Pack it without a password; the connection protects it on the way."
    ),
    ProblemCode.ARCHIVE_NESTED: ProblemKind(
        "The archive holds another archive", 422, "Unpack the inner archive and send its files in one ZIP."
    ),
    ProblemCode.ARCHIVE_METHOD_UNSUPPORTED: ProblemKind(
        "A compression method cannot be read", 422, "Pack with deflate or without compression."
    ),
    ProblemCode.NO_DICOM_IMAGES: ProblemKind(
        "There are no DICOM images", 422, "Send the exported DICOM files, not reports or pictures of them."
    ),
    ProblemCode.WRONG_MODALITY: ProblemKind("There is no CT", 422, "Send a chest CT. `found` names what came."),
    ProblemCode.MIXED_STUDIES: ProblemKind(
        "The archive holds more than one study or patient",
        422,
        "Send one ZIP per study.",
    ),
    ProblemCode.PHANTOM_STUDY: ProblemKind(
        "All images show a phantom", 422, "These are images of quality control. Send a chest CT of a patient."
    ),
    ProblemCode.SERIES_NOT_FOUND: ProblemKind(
        "The series asked for is not in the study",
        422,
        "Leave `series_instance_uid` out, or name one that intake lists.",
    ),
    ProblemCode.NO_USABLE_SERIES: ProblemKind(
        "No series can be read as an axial chest CT", 422, "Intake lists every candidate and why it lost."
    ),
    ProblemCode.INSUFFICIENT_COVERAGE: ProblemKind(
        "The series is too short",
        422,
        "Send the whole chest. `found_mm` and `needed_mm` say how much is missing.",
    ),
    ProblemCode.NO_LUNGS_FOUND: ProblemKind("No lungs were found", 422, "Send a CT of the chest in Hounsfield units."),
    ProblemCode.MISSING_REQUIRED_TAGS: ProblemKind(
        "Required DICOM attributes are missing", 422, "Export again from the PACS without removing `tags`."
    ),
    ProblemCode.INVALID_GEOMETRY: ProblemKind(
        "The geometry makes no sense",
        422,
        "Spacing must be positive and direction cosines orthonormal. Export again.",
    ),
    ProblemCode.INVALID_RESCALE: ProblemKind(
        "RescaleSlope or RescaleIntercept makes no sense", 422, "Export again from the PACS."
    ),
    ProblemCode.SLICE_GAP: ProblemKind(
        "Slices are missing", 422, "Send the whole series. `positions_mm` says where the gaps are."
    ),
    ProblemCode.CONFLICTING_DUPLICATES: ProblemKind(
        "Two different images claim the same SOPInstanceUID",
        422,
        "Send the study as the PACS holds it, once.",
    ),
    ProblemCode.SERIES_INCOMPLETE: ProblemKind(
        "Unreadable files leave the series incomplete", 422, "Intake lists the files. Send them again."
    ),
    ProblemCode.TRANSFER_SYNTAX_UNSUPPORTED: ProblemKind(
        "The images are compressed in a way that cannot be read", 422, "Export uncompressed or as JPEG-LS."
    ),
    ProblemCode.UNDECODABLE: ProblemKind(
        "The study crashes the decoder", 422, "Export the study again; send it to support if it stays so."
    ),
    ProblemCode.NIFTI_UNREADABLE: ProblemKind(
        "The NIfTI file cannot be read",
        422,
        "Send one 3-D volume in Hounsfield units as `.nii` or `.nii.gz`.",
    ),
    ProblemCode.NO_MODEL_ANSWERED: ProblemKind(
        "Too few models answered",
        503,
        "`GET /v1/models` says what is installed; the policy says what is needed.",
    ),
    ProblemCode.DEADLINE_EXCEEDED: ProblemKind(
        "The job did not end in time", 503, "Submit again; if it stays so, the operator must add workers."
    ),
    ProblemCode.RETRIES_EXHAUSTED: ProblemKind(
        "A dependency stayed unwell", 503, "Submit again later. `cause` names the last fault."
    ),
    ProblemCode.WORKER_LOST: ProblemKind(
        "The worker died again and again", 503, "Submit again; if it stays so, tell the operator the job id."
    ),
    ProblemCode.STORAGE_UNAVAILABLE: ProblemKind("Object storage is not available", 503, "Try again later."),
    ProblemCode.DATABASE_UNAVAILABLE: ProblemKind("The database is not available", 503, "Try again later."),
    ProblemCode.BROKER_UNAVAILABLE: ProblemKind(
        "The broker is not available", 503, "Jobs are kept and go on when it is back."
    ),
    ProblemCode.NO_SPACE: ProblemKind("There is no space left", 507, "The operator must free space."),
    ProblemCode.NOT_READY: ProblemKind(
        "The service is not ready", 503, "`checks` names what is missing. Try again later."
    ),
    ProblemCode.INTERNAL_ERROR: ProblemKind(
        "We have a bug", 500, "It was recorded. Tell the operator the `trace_id` or the job id."
    ),
}


@dataclass(frozen=True)
class FieldError:
    """One wrong field of a request: a JSON Pointer (RFC 6901) and what is wrong."""

    pointer: str
    message: str


@dataclass(frozen=True)
class Problem:
    """One occurrence of a problem.

    `detail` says what was found, what was expected and where. `facts` are extension members. Neither ever holds
    patient data, a path of ours or a name from the upload that was not escaped.
    """

    code: ProblemCode
    detail: str
    facts: JsonObject = field(default_factory=dict)
    errors: tuple[FieldError, ...] = ()

    @property
    def kind(self) -> ProblemKind:
        """The entry of the catalogue."""
        return CATALOGUE[self.code]

    def to_document(self) -> dict[str, JsonValue]:
        """Return the RFC 9457 members that do not depend on the request."""
        return {
            **self.facts,
            "type": f"/v1/problems/{self.code}",
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "advice": self.kind.advice,
            "code": str(self.code),
            "errors": [{"pointer": error.pointer, "message": error.message} for error in self.errors],
        }
