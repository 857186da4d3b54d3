"""What an upload is, judged by its first bytes and by nothing else. Pure."""

from __future__ import annotations

import struct
import zlib

from shared.artefacts import UploadKind

HEAD_BYTES = 4096
"""How much of an upload is enough to judge it."""

_ZIP_SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")  # a first entry; an archive without entries
_GZIP_SIGNATURE = b"\x1f\x8b\x08"
_NIFTI_HEADERS = {348: (344, b"n+1\0"), 540: (4, b"n+2\0\r\n\x1a\n")}
_NIFTI_NEEDED_BYTES = 348


def judge_kind(head: bytes) -> UploadKind | None:
    """Return the kind of the upload that begins with `head` (at most 4096 bytes of it are looked at)."""
    head = head[:HEAD_BYTES]
    if head.startswith(_ZIP_SIGNATURES):
        return UploadKind.ZIP
    start = _inflate_start(head) if head.startswith(_GZIP_SIGNATURE) else head
    return UploadKind.NIFTI if _is_nifti(start) else None


def is_head_enough(head: bytes) -> bool:
    """Say whether more bytes could still change the judgement."""
    return len(head) >= HEAD_BYTES or head.startswith(_ZIP_SIGNATURES)


def get_media_type(kind: UploadKind, head: bytes) -> str:
    """Return the media type of an upload."""
    if kind is UploadKind.ZIP:
        return "application/zip"
    return "application/gzip" if head.startswith(_GZIP_SIGNATURE) else "application/octet-stream"


def _inflate_start(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(head, _NIFTI_NEEDED_BYTES)
    except zlib.error:
        return b""


def _is_nifti(start: bytes) -> bool:
    """Say whether a single-file NIfTI-1 or NIfTI-2 begins here, in either byte order."""
    if len(start) < _NIFTI_NEEDED_BYTES:
        return False
    for order in "<>":
        offset, magic = _NIFTI_HEADERS.get(struct.unpack_from(f"{order}i", start)[0], (0, b"\0"))
        if start[offset : offset + len(magic)] == magic and offset:
            return True
    return False
