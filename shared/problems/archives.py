"""Problems of the archive, found by intake before or while it is unpacked."""

from __future__ import annotations

from collections.abc import Mapping

from shared.problems.codes import ProblemCode
from shared.problems.kinds import ProblemKind

KINDS: Mapping[ProblemCode, ProblemKind] = {
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
}
