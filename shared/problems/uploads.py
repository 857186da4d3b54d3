"""Problems of uploads that come in parts."""

from __future__ import annotations

from collections.abc import Mapping

from shared.problems.codes import ProblemCode
from shared.problems.kinds import ProblemKind, show_of_request

_UPLOAD = "/v1/uploads/6d0f7a2e-3b52-4f0d-8c55-0e4b1f6a9d33"

KINDS: Mapping[ProblemCode, ProblemKind] = {
    ProblemCode.UPLOAD_NOT_FOUND: ProblemKind(
        "No such upload",
        404,
        "Check the id; `GET /v1/uploads` lists yours. What has expired must be sent again.",
        cause="No upload of yours has this id: it was aborted, or it has expired (`expires_at`) before a job was made "
        "of it.",
        example=show_of_request("There is no upload of this id.", instance=_UPLOAD),
        related=(ProblemCode.NOT_FOUND, ProblemCode.UPLOAD_ALREADY_SUBMITTED),
    ),
    ProblemCode.TOO_MANY_UPLOADS: ProblemKind(
        "Too many uploads are unfinished",
        429,
        "Complete and submit those that are under way, abort those that are not (`DELETE`), or come back as "
        "`Retry-After` says. `limit` says how many there may be (`CTCLIP_OPEN_UPLOADS_LIMIT`).",
        cause="A tenant may have a limited number of uploads that no job was made of. Each holds its parts in storage "
        "until it expires.",
        example=show_of_request(
            "There are 100 uploads already that are no job yet.", instance="/v1/uploads", limit=100
        ),
        related=(ProblemCode.UPLOAD_NOT_FOUND, ProblemCode.NO_SPACE),
    ),
    ProblemCode.UPLOAD_PART_UNKNOWN: ProblemKind(
        "The upload has no part of this number",
        422,
        "Number the parts from 1 to `parts`, as the upload says.",
        cause="The number in the address is below 1 or above the number of parts that the file was divided into. Often "
        "the parts were numbered from 0, or cut in another size than `part_size_bytes`.",
        example=show_of_request(
            "The upload has the parts 1 to 4; there is no part 5.", instance=f"{_UPLOAD}/parts/5", parts=4
        ),
        related=(ProblemCode.UPLOAD_PART_SIZE_WRONG,),
    ),
    ProblemCode.UPLOAD_PART_SIZE_WRONG: ProblemKind(
        "The part has the wrong size",
        400,
        "Cut the file into parts of `part_size_bytes`; only the last one is shorter. Then send this part again.",
        cause="The body of the part has, or its `Content-Length` announces, more or fewer bytes than the part must "
        "have (`expected_bytes`). Nothing of it is kept. Of a body that is too long, `found_bytes` is what was read.",
        example=show_of_request(
            "Part 2 has 262144 bytes; 100 or more came or were announced.",
            instance=f"{_UPLOAD}/parts/2",
            expected_bytes=262144,
            found_bytes=100,
        ),
        related=(ProblemCode.UPLOAD_PART_UNKNOWN, ProblemCode.UPLOAD_INTERRUPTED),
    ),
    ProblemCode.UPLOAD_PART_CONFLICT: ProblemKind(
        "The part has come before with other bytes",
        409,
        "Look which of the two is right. If it is the new one, abort the upload and begin again.",
        cause="The part is there already, and what came now has another digest than `received_sha256`. Nothing is "
        "overwritten; the same bytes again are no error. Mostly two processes send two files to one upload.",
        example=show_of_request(
            "Part 2 is there already, with other bytes.",
            instance=f"{_UPLOAD}/parts/2",
            received_sha256="5f8f04f6a3a892aaabbddb6cf273894493773960d4a325b105fee46eef4304f1",
        ),
        related=(ProblemCode.CHECKSUM_MISMATCH, ProblemCode.UPLOAD_ALREADY_COMPLETE),
    ),
    ProblemCode.UPLOAD_INCOMPLETE: ProblemKind(
        "Some parts have not come",
        409,
        "Send the parts that `missing_parts` names, then complete the upload.",
        cause="The upload was to be completed or submitted before all its parts had come whole, or it was submitted "
        "before it was completed; then `missing_parts` may be empty.",
        example=show_of_request("2 parts have not come yet.", instance=f"{_UPLOAD}/complete", missing_parts=[2, 3]),
        related=(ProblemCode.UPLOAD_BUSY, ProblemCode.UPLOAD_INTERRUPTED),
    ),
    ProblemCode.UPLOAD_BUSY: ProblemKind(
        "The parts are being put together",
        409,
        "Wait as `Retry-After` says, then repeat.",
        cause="Another request completes the same upload at this moment. Until it is done no part is taken, and the "
        "upload can be neither completed nor aborted.",
        example=show_of_request("The parts are being put together at this moment.", instance=f"{_UPLOAD}/complete"),
        related=(ProblemCode.UPLOAD_INCOMPLETE, ProblemCode.UPLOAD_ALREADY_COMPLETE),
    ),
    ProblemCode.UPLOAD_ALREADY_COMPLETE: ProblemKind(
        "The upload is complete",
        409,
        "Submit it: `POST /v1/jobs` with its `upload_id`. For another file, begin another upload.",
        cause="A part was sent after the upload had been completed.",
        example=show_of_request("The upload is complete: no part is taken any more.", instance=f"{_UPLOAD}/parts/2"),
        related=(ProblemCode.UPLOAD_PART_CONFLICT, ProblemCode.UPLOAD_ALREADY_SUBMITTED),
    ),
    ProblemCode.UPLOAD_ALREADY_SUBMITTED: ProblemKind(
        "A job was made of the upload already",
        409,
        "Follow the job that `job_id` names. To read the same file again, send it again.",
        cause="An upload becomes one job, which owns its bytes from then on. Often the answer to the first submission "
        "was lost; with an `Idempotency-Key` it would have been repeated.",
        example=show_of_request(
            "A job was made of this upload already.", job_id="7f0c1d52-4c5e-4f0e-9a5b-2b8f2f3f6a11"
        ),
        related=(ProblemCode.IDEMPOTENCY_KEY_REUSED, ProblemCode.UPLOAD_NOT_FOUND),
    ),
}
