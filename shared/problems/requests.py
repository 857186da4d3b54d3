"""Problems of the request itself, found before the study is read."""

from __future__ import annotations

from collections.abc import Mapping

from shared.problems import studies
from shared.problems.codes import ProblemCode
from shared.problems.kinds import FieldError, ProblemKind, make_example_document, show_of_request

_JOB = "/v1/jobs/7f0c1d52-4c5e-4f0e-9a5b-2b8f2f3f6a11"

KINDS: Mapping[ProblemCode, ProblemKind] = {
    ProblemCode.EMPTY_UPLOAD: ProblemKind(
        "The upload is empty",
        400,
        "Send the ZIP or NIfTI as the `file` field or as the raw body.",
        cause="The request has no body, or the file in it has no bytes. Often an export script sent the file before "
        "the PACS had finished writing it.",
        example=show_of_request("The upload has no bytes."),
        related=(ProblemCode.UPLOAD_INTERRUPTED, ProblemCode.NO_DICOM_IMAGES),
    ),
    ProblemCode.NOT_AN_ARCHIVE: ProblemKind(
        "Neither a ZIP nor a NIfTI file",
        415,
        "Pack the DICOM files of one study into a ZIP. The kind is judged by the first bytes, not by the name.",
        cause="The first bytes of the file are those of something else: a single DICOM file, a picture, a RAR, 7z or "
        "tar archive, or a ZIP with a program in front of it; `found` names it, or says `unknown`. The same code "
        "refuses a body with a `Content-Encoding`.",
        example=show_of_request(
            "It is a RAR archive; a ZIP or a NIfTI was expected. "
            "Unpack it and pack the DICOM files of one study into a ZIP.",
            found="rar",
        ),
        related=(ProblemCode.ARCHIVE_CORRUPT, ProblemCode.ARCHIVE_NESTED, ProblemCode.NIFTI_UNREADABLE),
    ),
    ProblemCode.UPLOAD_TOO_LARGE: ProblemKind(
        "The upload is too large",
        413,
        "Send one study only, or ask the operator to raise `CTCLIP_UPLOAD_LIMIT_BYTES`.",
        cause="The body has, or its `Content-Length` announces, more bytes than `limit_bytes`. The connection is "
        "closed without reading on.",
        example=show_of_request("The upload is larger than 4294967296 bytes.", limit_bytes=4294967296),
        related=(ProblemCode.ARCHIVE_EXPANDS_TOO_FAR,),
    ),
    ProblemCode.UPLOAD_INTERRUPTED: ProblemKind(
        "The upload ended early",
        400,
        "The connection closed before the whole body came. Send it again.",
        cause="The connection closed, or no byte came for a minute, before the whole body was there. Nothing of it is "
        "kept and there is no job. Look at proxies with a time limit or a limit of size on the way.",
        example=show_of_request("The connection closed before the end."),
        related=(ProblemCode.EMPTY_UPLOAD, ProblemCode.ARCHIVE_TRUNCATED),
    ),
    ProblemCode.CHECKSUM_MISMATCH: ProblemKind(
        "The body is not what its Content-Digest announces",
        400,
        "Send it again; if it stays so, something on the way changes it, or the digest is of other bytes.",
        cause="The request announces the SHA-256 or SHA-512 of its body (RFC 9530), and what came has another one. "
        "Nothing of it is kept and there is no job. The header covers the whole body; of a form, the digest of its "
        "file alone is taken too. Of an upload in parts it covers one part; `sha256` of the whole is held against what "
        "came when the upload is completed, and then every part is kept.",
        example=show_of_request(
            "Another sha-256 of the body was announced than what came has.",
            announced="sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
            found="sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:",
        ),
        related=(ProblemCode.UPLOAD_INTERRUPTED, ProblemCode.MALFORMED_REQUEST),
    ),
    ProblemCode.MALFORMED_REQUEST: ProblemKind(
        "The request cannot be read",
        400,
        "`detail` says what. A form has one `file` field, a boundary and a proper end; JSON is text in UTF-8.",
        cause="The body breaks the format that its `Content-Type` names: a form with no boundary, no closing boundary, "
        "or parts without a name, or JSON that breaks off. Mostly a body that was put together by hand.",
        example=show_of_request("The multipart Content-Type names no boundary."),
        related=(ProblemCode.VALIDATION_FAILED, ProblemCode.UPLOAD_INTERRUPTED),
    ),
    ProblemCode.UNSUPPORTED_MEDIA_TYPE: ProblemKind(
        "The body is announced as something else than JSON",
        415,
        "Send JSON with `Content-Type: application/json`.",
        cause="This address reads JSON, and the request has a body without that `Content-Type`. `curl -d` announces a "
        "form unless it is told otherwise.",
        example=show_of_request("This address reads application/json."),
        related=(ProblemCode.MALFORMED_REQUEST, ProblemCode.NOT_AN_ARCHIVE),
    ),
    ProblemCode.VALIDATION_FAILED: ProblemKind(
        "The request has wrong or unknown fields",
        422,
        "`errors` names each field; the API reference lists the right ones.",
        cause="A field or a query parameter is unknown, missing, sent twice, or has a value that it cannot have. "
        "`errors` points at each (JSON Pointer). It says nothing about the DICOM files: they were not read.",
        example=show_of_request(
            "Some fields of the request are wrong. `errors` names each.",
            errors=(FieldError("/priority", "Input should be less than or equal to 9"),),
        ),
        related=(ProblemCode.MALFORMED_REQUEST,),
    ),
    ProblemCode.IDEMPOTENCY_KEY_INVALID: ProblemKind(
        "The Idempotency-Key cannot be used",
        400,
        "Send 1 to 255 printable ASCII characters, such as a UUID.",
        cause="The header `Idempotency-Key` is empty, too long or holds characters that are not printable ASCII.",
        example=show_of_request(
            "The key has 300 characters or some that are not printable ASCII.", limit_characters=255
        ),
        related=(ProblemCode.IDEMPOTENCY_KEY_REUSED,),
    ),
    ProblemCode.IDEMPOTENCY_KEY_REUSED: ProblemKind(
        "The Idempotency-Key was used for another payload",
        422,
        "Use a new key for a new study.",
        cause="An earlier request sent the same `Idempotency-Key` with other bytes or other options. Two studies must "
        "not share a key: a key that is made of the accession number alone does so when a study is exported twice.",
        example=show_of_request("The key was first sent with another file or other options."),
        related=(ProblemCode.IDEMPOTENCY_KEY_IN_FLIGHT,),
    ),
    ProblemCode.IDEMPOTENCY_KEY_IN_FLIGHT: ProblemKind(
        "The first request with this Idempotency-Key is still running",
        409,
        "Wait as `Retry-After` says, then repeat.",
        cause="Another request with the same `Idempotency-Key` is being taken in at this moment. Its answer is given "
        "to this one, once there is one. Where the gateway that took it in was killed, the key is free after 20 s.",
        example=show_of_request("A request with the same key is being taken in. Repeat this one to get its answer."),
        related=(ProblemCode.IDEMPOTENCY_KEY_REUSED,),
    ),
    ProblemCode.NOT_FOUND: ProblemKind(
        "No such page",
        404,
        "See the API reference at `/docs`.",
        cause="There is nothing at this address, or a job has no artefact of this name. Check the version in front "
        "(`/v1`) and a slash too many at the end.",
        example=show_of_request("There is nothing at this address.", instance="/v1/job"),
        related=(ProblemCode.JOB_NOT_FOUND, ProblemCode.METHOD_NOT_ALLOWED),
    ),
    ProblemCode.METHOD_NOT_ALLOWED: ProblemKind(
        "The method does not fit the address",
        405,
        "See the `Allow` header and the API reference at `/docs`.",
        cause="The address exists, but it does not answer to this method: a study is sent by `POST`, not by `PUT`.",
        example=show_of_request("This address does not answer to this method."),
        related=(ProblemCode.NOT_FOUND,),
    ),
    ProblemCode.JOB_NOT_FOUND: ProblemKind(
        "No such job",
        404,
        "Check the id; jobs of other tenants are not shown.",
        cause="No job of yours has this id. A job id is a UUID from the answer to the submission: it is neither a "
        "StudyInstanceUID nor an accession number.",
        example=show_of_request("There is no job of this id.", instance=_JOB),
        related=(ProblemCode.NOT_FOUND,),
    ),
    ProblemCode.ERASED: ProblemKind(
        "The job was erased",
        410,
        "Nothing can be had of it any more. Keep the certificate; submit the study again if it is to be read again.",
        cause="The job was deleted (`DELETE /v1/jobs/{id}`): its objects and rows are gone. `certificate_id` and "
        "`erased_at` are all that is left.",
        example=show_of_request(
            "Only the certificate 0d6b1b5e-5d1f-4c57-9a55-8f6f1ef0a1c3 is left of it.",
            instance=_JOB,
            certificate_id="0d6b1b5e-5d1f-4c57-9a55-8f6f1ef0a1c3",
            erased_at="2026-03-01T10:00:07.120000Z",
        ),
        related=(ProblemCode.JOB_NOT_FOUND,),
    ),
    ProblemCode.JOB_NOT_FINISHED: ProblemKind(
        "The job has not finished",
        409,
        "Poll the job as `Retry-After` says.",
        cause="The result was asked for while the study is still being read.",
        example=show_of_request("The job is running; its result exists once it has ended.", instance=f"{_JOB}/result"),
        related=(ProblemCode.JOB_HAS_NO_RESULT, ProblemCode.INTAKE_NOT_FINISHED),
    ),
    ProblemCode.JOB_HAS_NO_RESULT: ProblemKind(
        "The job ended without a result",
        409,
        "`job_problem` says why: mend the cause and submit again. Where it is null, `job_state` does: a `cancelled` "
        "job may be submitted again; of a `completed` one only a validation was asked for: read `/v1/jobs/{id}/intake`"
        ", or submit again without `validate_only`.",
        cause="The job was rejected, failed or was cancelled, and `job_problem` is the problem that it ended with, "
        "with its own code and its own page; or it was a validation (`validate_only`), which has no result.",
        example=show_of_request(
            "The job is rejected: there will be no result.",
            instance=f"{_JOB}/result",
            job_state="rejected",
            job_problem=make_example_document(ProblemCode.NO_DICOM_IMAGES, studies.KINDS[ProblemCode.NO_DICOM_IMAGES]),
        ),
        related=(ProblemCode.JOB_NOT_FINISHED,),
    ),
    ProblemCode.INTAKE_NOT_FINISHED: ProblemKind(
        "The upload has not been read yet",
        409,
        "Poll the job as `Retry-After` says.",
        cause="The list of files and series was asked for before intake has ended. It exists a few seconds later, "
        "also for a study that is refused.",
        example=show_of_request("The upload is still waiting to be read, or being read.", instance=f"{_JOB}/intake"),
        related=(ProblemCode.JOB_NOT_FINISHED,),
    ),
    ProblemCode.JOB_ALREADY_FINISHED: ProblemKind(
        "The job has already ended",
        409,
        "Nothing is left to cancel; `job_state` says how it ended. To be rid of it, delete it.",
        cause="The job was to be cancelled after it had ended in another way. Cancelling a cancelled job again is no "
        "error: it is answered with the job.",
        example=show_of_request(
            "The job is completed: it can no longer be cancelled.",
            instance=f"{_JOB}/cancel",
            job_state="completed",
        ),
        related=(ProblemCode.JOB_NOT_FINISHED, ProblemCode.JOB_HAS_NO_RESULT),
    ),
    ProblemCode.JOB_CANNOT_BE_RETRIED: ProblemKind(
        "The job cannot be retried",
        409,
        "Only a job that failed by our fault goes on. A rejected one needs another upload; where `reason` is "
        "`study_removed`, submit the study again.",
        cause="`job_state` is not `failed` (`reason` is `not_failed`): the job runs, has a result, was cancelled, or "
        "was rejected for what was sent. Or it failed, and what it must read again was removed after the time that "
        "uploads and volumes are kept (`study_removed`).",
        example=show_of_request(
            "The job is rejected and cannot be retried: not_failed.",
            instance=f"{_JOB}/retry",
            job_state="rejected",
            reason="not_failed",
        ),
        related=(ProblemCode.JOB_ALREADY_FINISHED, ProblemCode.JOB_HAS_NO_RESULT),
    ),
    ProblemCode.TOO_MANY_STREAMS: ProblemKind(
        "Too many streams or downloads are open",
        429,
        "Come back as `Retry-After` says. One stream for each job that is followed is enough, or poll the job; "
        "download a few artefacts at a time, and read what comes.",
        cause="This gateway, or the tenant in it, holds as many streams of events (`CTCLIP_EVENT_STREAMS_LIMIT`) or "
        "downloads of artefacts (64) open as it may. A stream ends with its job, a download with its last byte, and "
        "both when the caller closes them.",
        example=show_of_request("200 streams are open here already.", instance=f"{_JOB}/events"),
        related=(ProblemCode.DATABASE_UNAVAILABLE,),
    ),
}
