"""The submission as the API description tells it: its body is read by hand, so it is described by hand."""

from __future__ import annotations

from typing import Any

from gateway.jobs.idempotency import LONGEST_KEY
from gateway.jobs.labels import LONGEST_NAME as LONGEST_LABEL
from gateway.jobs.labels import LONGEST_VALUE, MOST_LABELS, NAME_PATTERN
from gateway.jobs.options import LONGEST_POLICY, LONGEST_UID, POLICY_PATTERN, UID_PATTERN, SubmissionOptions
from gateway.uploads.multipart import FILE_FIELD
from gateway.uploads.names import LONGEST_NAME
from shared.callback_urls import LONGEST_URL
from shared.stages import MODELS

_BINARY = {"type": "string", "format": "binary"}
_OPTIONS: dict[str, dict[str, Any]] = {
    "priority": {"type": "integer", "minimum": 0, "maximum": 9, "default": 5, "description": "9 is read first."},
    "series_instance_uid": {
        "type": "string",
        "pattern": UID_PATTERN,
        "maxLength": LONGEST_UID,
        "description": "Read this series, whatever would be chosen. Not together with `split`.",
    },
    "models": {
        "type": "string",
        "description": "Comma-separated models to run; all that are installed by default.",
        "examples": ["mednext,fvlm"],
    },
    "policy": {
        "type": "string",
        "pattern": POLICY_PATTERN,
        "maxLength": LONGEST_POLICY,
        "description": "Name of the policy to decide under, one of those that this installation offers; by default "
        "the one that `GET /v1/models` shows.",
    },
    "validate_only": {
        "type": "boolean",
        "default": False,
        "description": "Only read the study, as every job begins, and run no model: the job ends `completed` where the "
        "study would be accepted, else `rejected`. `/intake` tells what was found; there is no result.",
    },
    "reuse": {
        "type": "boolean",
        "default": True,
        "description": "False: run every model, also where an earlier job of the same pixels, models and code has "
        "answered already. `reused_from` of a stage tells which job did.",
    },
    "split": {
        "type": "boolean",
        "default": False,
        "description": "Make one job for each study of the upload. The job of an upload with several studies still "
        "ends `rejected` with `mixed_studies`, whose `jobs` names the new ones.",
    },
    "labels": {
        "type": "string",
        "description": "Your words on the job, by which `GET /v1/jobs?label=` finds it: `name=value` pairs with commas "
        f"between them, or a JSON object of texts; {MOST_LABELS} at most. Name no patient in them.",
        "examples": ["site=north,batch=7"],
    },
    "callback_url": {
        "type": "string",
        "format": "uri",
        "maxLength": LONGEST_URL,
        "description": "Told how the job ends, as webhooks are; signed with `GET /v1/webhooks/default-secret`. HTTPS, "
        "or plain HTTP inside networks that the operator has allowed.",
    },
}
assert set(_OPTIONS) == set(SubmissionOptions.model_fields)  # a new option must be described

_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key with the same payload is answered with the first answer again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY},
}
_DIGEST = {
    "name": "Content-Digest",
    "in": "header",
    "required": False,
    "description": "SHA-256 or SHA-512 of the body (RFC 9530), held against what comes; algorithms of other names are "
    "ignored. It covers the whole body; of a form, the digest of the file alone is taken too, and the file's part may "
    "carry this header itself.",
    "schema": {"type": "string"},
    "example": "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:",
}
_PREFER = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": "`wait=N` (RFC 7240): hold the answer until the job has ended, N seconds at most; the limit stands "
    "in `GET /v1/limits`. `Preference-Applied` tells what was granted.",
    "schema": {"type": "string"},
    "example": "wait=30",
}


_IN_JSON: dict[str, dict[str, Any]] = {
    "models": {
        "type": "array",
        "items": {"type": "string", "enum": [str(model) for model in MODELS]},
        "minItems": 1,
        "description": "Models to run; all that are installed by default.",
    },
    "labels": {
        "type": "object",
        "propertyNames": {"type": "string", "pattern": NAME_PATTERN, "maxLength": LONGEST_LABEL},
        "additionalProperties": {"type": "string", "maxLength": LONGEST_VALUE},
        "maxProperties": MOST_LABELS,
        "description": "Your words on the job, by which `GET /v1/jobs?label=` finds it. Name no patient in them.",
    },
}
_OF_UPLOAD: dict[str, Any] = {
    "type": "object",
    "required": ["upload_id"],
    "additionalProperties": False,
    "properties": {
        "upload_id": {"type": "string", "format": "uuid", "description": "A completed upload in parts."},
        "file_name": {
            "type": "string",
            "maxLength": LONGEST_NAME,
            "description": "Name of the file; identifiers of a NIfTI study are made of it.",
        },
        **_OPTIONS,
        **_IN_JSON,
    },
}


def _describe_file(description: str) -> dict[str, Any]:
    form = {"type": "object", "required": [FILE_FIELD], "properties": {FILE_FIELD: _BINARY, **_OPTIONS}}
    raw = {
        media_type: {"schema": _BINARY}
        for media_type in ("application/zip", "application/octet-stream", "application/gzip")
    }
    return {
        "required": True,
        "description": description,
        "content": {"multipart/form-data": {"schema": form}, **raw, "application/json": {"schema": _OF_UPLOAD}},
    }


def describe_upload_form(description: str) -> dict[str, Any]:
    """Return the description of a multipart body with one file and nothing else."""
    form = {"type": "object", "required": [FILE_FIELD], "properties": {FILE_FIELD: _BINARY}}
    return {
        "requestBody": {
            "required": True,
            "description": description,
            "content": {"multipart/form-data": {"schema": form}},
        }
    }


SUBMISSION: dict[str, Any] = {
    "requestBody": _describe_file(
        "A ZIP of the DICOM files of one study, or one NIfTI volume in Hounsfield units; or, as JSON, the id of a "
        "completed upload in parts."
    ),
    "parameters": [
        _KEY,
        _DIGEST,
        _PREFER,
        *({"name": name, "in": "query", "required": False, "schema": schema} for name, schema in _OPTIONS.items()),
    ],
}
