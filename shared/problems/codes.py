"""Every problem code."""

from __future__ import annotations

from enum import StrEnum


class ProblemCode(StrEnum):
    """Every code that a caller may meet. The meaning of each stands in `CATALOGUE`."""

    # The request
    EMPTY_UPLOAD = "empty_upload"
    NOT_AN_ARCHIVE = "not_an_archive"
    UPLOAD_TOO_LARGE = "upload_too_large"
    UPLOAD_INTERRUPTED = "upload_interrupted"
    CHECKSUM_MISMATCH = "checksum_mismatch"
    MALFORMED_REQUEST = "malformed_request"
    VALIDATION_FAILED = "validation_failed"
    IDEMPOTENCY_KEY_INVALID = "idempotency_key_invalid"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    IDEMPOTENCY_KEY_IN_FLIGHT = "idempotency_key_in_flight"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    JOB_NOT_FOUND = "job_not_found"
    ERASED = "erased"
    JOB_NOT_FINISHED = "job_not_finished"
    JOB_HAS_NO_RESULT = "job_has_no_result"
    INTAKE_NOT_FINISHED = "intake_not_finished"
    JOB_ALREADY_FINISHED = "job_already_finished"
    TOO_MANY_STREAMS = "too_many_streams"
    CALLBACK_URL_NOT_ALLOWED = "callback_url_not_allowed"
    WEBHOOK_NOT_FOUND = "webhook_not_found"
    WEBHOOK_DISABLED = "webhook_disabled"
    WEBHOOK_LIMIT_REACHED = "webhook_limit_reached"

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
    MEMORY_INSUFFICIENT = "memory_insufficient"
    NOT_READY = "not_ready"
    INTERNAL_ERROR = "internal_error"
