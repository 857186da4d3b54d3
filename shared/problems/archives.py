"""Problems of the archive, found by intake before or while it is unpacked."""

from __future__ import annotations

from collections.abc import Mapping

from shared.problems.codes import ProblemCode
from shared.problems.kinds import ProblemKind, show_of_job

KINDS: Mapping[ProblemCode, ProblemKind] = {
    ProblemCode.ARCHIVE_CORRUPT: ProblemKind(
        "The archive is damaged",
        422,
        "Make the ZIP again and check it with `unzip -t`.",
        cause="The ZIP contradicts itself: its central directory is damaged or counts wrongly, a local header names "
        "another file than the directory does, or there are bytes in front of the archive. Damage inside one entry "
        "does not lead here: that file alone is rejected.",
        example=show_of_job("The local header of entry 1 disagrees with the central directory."),
        related=(ProblemCode.ARCHIVE_TRUNCATED, ProblemCode.SERIES_INCOMPLETE),
    ),
    ProblemCode.ARCHIVE_TRUNCATED: ProblemKind(
        "The archive is cut short",
        422,
        "The central directory at the end is missing. Send the whole file.",
        cause="A ZIP ends with its central directory, and this one does not: the file was cut on its way or was sent "
        "while it was still being written.",
        example=show_of_job("The archive has no central directory at its end."),
        related=(ProblemCode.ARCHIVE_CORRUPT, ProblemCode.UPLOAD_INTERRUPTED),
    ),
    ProblemCode.ARCHIVE_EXPANDS_TOO_FAR: ProblemKind(
        "The archive expands beyond the limit",
        422,
        "Send one study only. `limit_bytes` names the limit.",
        cause="Unpacked, the files have more bytes than the operator allows (`CTCLIP_ARCHIVE_LIMIT_BYTES`), or an "
        "entry holds more than the archive declares for it. The bytes are counted while they come out; how well an "
        "entry is compressed does not matter.",
        example=show_of_job(
            "The archive expands to more than it declares or than the limit of 8589934592 bytes.",
            limit_bytes=8589934592,
        ),
        related=(ProblemCode.UPLOAD_TOO_LARGE, ProblemCode.ARCHIVE_OVERLAPPING_ENTRIES),
    ),
    ProblemCode.ARCHIVE_OVERLAPPING_ENTRIES: ProblemKind(
        "Entries of the archive share bytes",
        422,
        "Make the ZIP with an ordinary packer.",
        cause="Two entries lie on the same bytes of the file. No packer writes that; it is how bombs are built.",
        example=show_of_job("Entry 2 shares bytes with another one."),
        related=(ProblemCode.ARCHIVE_EXPANDS_TOO_FAR, ProblemCode.ARCHIVE_CORRUPT),
    ),
    ProblemCode.ARCHIVE_TOO_MANY_ENTRIES: ProblemKind(
        "The archive has too many entries",
        422,
        "Send one study only. `limit_entries` names the limit.",
        cause="The archive has more entries than the operator allows (`CTCLIP_ARCHIVE_LIMIT_ENTRIES`). Mostly several "
        "studies in one export.",
        example=show_of_job(
            "The archive has at least 50001 entries; 50000 are allowed.",
            limit_entries=50000,
        ),
        related=(ProblemCode.MIXED_STUDIES,),
    ),
    ProblemCode.ARCHIVE_UNSAFE_PATH: ProblemKind(
        "An entry's name points outside the archive",
        422,
        "Make the ZIP with relative names and without `..`.",
        cause="An entry is named by an absolute path, a drive letter, a backslash or `..`. Names are never used as "
        "paths here, but such an archive is not what an export makes.",
        example=show_of_job("The name of entry 1 points outside the archive."),
        related=(ProblemCode.ARCHIVE_LINK_ENTRY,),
    ),
    ProblemCode.ARCHIVE_LINK_ENTRY: ProblemKind(
        "The archive holds a link or a device",
        422,
        "Pack the files themselves (`zip` without `-y`).",
        cause="An entry is a symbolic link, a device or a pipe, by the Unix mode in the central directory.",
        example=show_of_job("Entry 1 is a link or a device."),
        related=(ProblemCode.ARCHIVE_UNSAFE_PATH,),
    ),
    ProblemCode.ARCHIVE_ENCRYPTED: ProblemKind(
        "The archive is encrypted",
        422,
        "Pack it without a password; the connection protects it on the way.",
        cause="An entry is encrypted. Patient CDs and exports for referrers often are.",
        example=show_of_job("Entry 1 is encrypted."),
        related=(ProblemCode.ARCHIVE_METHOD_UNSUPPORTED,),
    ),
    ProblemCode.ARCHIVE_NESTED: ProblemKind(
        "The archive holds another archive",
        422,
        "Unpack the inner archive and send its files in one ZIP.",
        cause="A file inside the archive is itself a ZIP, RAR, 7z, gzip or tar; `kind` names it. Office documents and "
        "viewer programs beside the images are no reason. An operator may let ZIPs inside the archive be opened "
        "(`CTCLIP_ARCHIVE_NESTING`).",
        example=show_of_job("Entry 1 is itself an archive (zip).", kind="zip"),
        related=(ProblemCode.NOT_AN_ARCHIVE,),
    ),
    ProblemCode.ARCHIVE_METHOD_UNSUPPORTED: ProblemKind(
        "A compression method cannot be read",
        422,
        "Pack with deflate or without compression.",
        cause="An entry is packed by Deflate64, bzip2, LZMA, PPMd or another method than deflate; `method` names it. "
        "The DICOM images inside may be compressed as they like: this is about the ZIP around them.",
        example=show_of_job("Entry 1 is compressed by the method lzma.", method="lzma"),
        related=(ProblemCode.TRANSFER_SYNTAX_UNSUPPORTED, ProblemCode.ARCHIVE_ENCRYPTED),
    ),
}
