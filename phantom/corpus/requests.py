"""Requests that go wrong, whatever the file: rows B1 to B5, B39 and B40."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from phantom.corpus.archives import FOREIGN, make_tar
from phantom.corpus.case import Case, Digest, Sending, accepted, refused, whole
from phantom.corpus.chest import MIB, Chest
from phantom.corpus.files import pack
from phantom.corpus.raw_zip import honest, pack_raw

_JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(200)
_OTHER_KINDS = {
    "jpeg": _JPEG,
    "pdf": b"%PDF-1.7\n" + bytes(200),
    "text": b"hello",
    "self-extractor": b"MZ" + bytes(100) + pack_raw(honest(b"a", b"x")),
    **{kind: magic + bytes(100) for kind, magic in FOREIGN.items()},
}
_UNSENDABLE = {"carriage-return": "Idempotency-Key: a\rX-Injected: b", "nul": "Idempotency-Key: a\0b"}
# Refused on every platform, whatever networks its operator lets it call.
_CALLBACKS = {
    "metadata": "http://169.254.169.254/latest/meta-data",
    "file": "file:///etc/passwd",
    "credentials": "https://user:pw@example.org/",
    "line-break": "https://example.org/\r\nX-Injected: b",
    "look-alike": "https://ex\u0430mple.org/",
    "mail-port": "https://example.org:25/",
}
_KEY = "Idempotency-Key"
_SAME_KEY = "corpus-{run}-same-key"
"""`{run}` becomes a word of its own in every run, or the second run would only see replays."""


def _pack_whole(chest: Chest) -> bytes:
    return pack(chest.files)


def _pad(chest: Chest) -> Iterator[bytes]:
    """Yield something that begins like a ZIP and is larger than an upload may be."""
    yield b"PK\x03\x04"
    for _ in range(chest.scale.upload_bytes // MIB + 1):
        yield bytes(MIB)


def _give(_: Chest, content: bytes) -> bytes:
    return content


def _list_other_kinds() -> list[Case]:
    kinds = {**_OTHER_KINDS, "tar": make_tar()}
    return [
        Case(
            f"B2-{kind}",
            f"No ZIP but a {kind}, named .zip",
            partial(_give, content=content),
            refused(415, "not_an_archive"),
        )
        for kind, content in kinds.items()
    ]


def _list_callbacks() -> list[Case]:
    return [
        Case(
            f"B39-{kind}",
            f"A callback that must not be called: {kind}",
            lambda chest: pack(chest.take(0, 3)),
            refused(422, "callback_url_not_allowed"),
            Sending(options={"callback_url": url}),
        )
        for kind, url in _CALLBACKS.items()
    ]


CASES: tuple[Case, ...] = (
    Case("B1-empty-body", "A body of no bytes", lambda _: b"", refused(400, "empty_upload"), Sending(is_raw=True)),
    Case("B1-empty-file", "A form whose file has no bytes", lambda _: b"", refused(400, "empty_upload")),
    *_list_other_kinds(),
    Case(
        "B3-announced",
        "A Content-Length far over the limit",
        lambda chest: pack(chest.take(0, 3)),
        refused(413, "upload_too_large"),
        Sending(is_raw=True, content_length=1 << 50),
    ),
    Case(
        "B3-counted",
        "A body over the limit that does not tell its length",
        _pad,
        refused(413, "upload_too_large"),
        Sending(is_raw=True, is_chunked=True),
        needs_limits=True,
    ),
    Case(
        "B4-cut",
        "An upload cut half-way, then sent again",
        _pack_whole,
        accepted(study=whole),
        Sending(is_raw=True, cut_at=0.5, headers={_KEY: "corpus-{run}-cut"}),
    ),
    Case(
        "B5-wrong",
        "A Content-Digest of something else",
        _pack_whole,
        refused(400, "checksum_mismatch"),
        Sending(is_raw=True, digest=Digest.WRONG),
    ),
    Case(
        "B5-right",
        "A Content-Digest that matches",
        _pack_whole,
        accepted(study=whole),
        Sending(is_raw=True, digest=Digest.RIGHT),
    ),
    *_list_callbacks(),
    Case(
        "B40-same-key",
        "One Idempotency-Key 50 times at the same instant",
        _pack_whole,
        accepted(study=whole),
        Sending(headers={_KEY: _SAME_KEY}, times=50),
    ),
    Case(
        "B40-other-body",
        "An Idempotency-Key that another body had",
        lambda chest: pack(chest.take(0, 3)),
        refused(422, "idempotency_key_reused"),
        Sending(headers={_KEY: "corpus-{run}-other-body"}, before="G-plain"),
    ),
    Case(
        "B40-long-key",
        "An Idempotency-Key of 10 KB",
        _pack_whole,
        refused(400, "idempotency_key_invalid"),
        Sending(headers={_KEY: "x" * 10_240}),
    ),
    *(
        Case(
            f"B40-{kind}",
            f"A {kind} in a header",
            lambda chest: pack(chest.take(0, 3)),
            refused(400, None),
            Sending(is_raw=True, raw_header=line),
        )
        for kind, line in _UNSENDABLE.items()
    ),
)
