"""Names that are data, never paths: rows B18 and B19, and the junk that file managers leave."""

from __future__ import annotations

from functools import partial

from phantom.corpus.case import Case, Sending, accepted, refused, rejected, unopened, whole
from phantom.corpus.chest import Chest
from phantom.corpus.files import pack
from phantom.corpus.raw_zip import UTF8_FLAG, honest, pack_raw

STRANGE_NAMES = {
    "nul": b"nul\x00.dcm",
    "control": b"bell\x07\x1b[31m.dcm",
    "right-to-left": "a\u202egpj.dcm".encode(),
    "not-utf8": b"\xff\xfe.dcm",
    "longest": b"x" * 0xFFFF,
    "surrogate": b"\xed\xa0\x80",
    "markup": b"<script>alert(1)<\\script>.dcm".replace(b"\\", b""),
    "line-breaks": b"a\r\nSet-Cookie: b=c.dcm",
    "empty": b"",
}
"""Names of an entry as bytes; the format allows 65,535 of them."""

UPLOAD_NAMES = {
    "long": "x" * 2_000 + ".zip",
    "path": "..\\..\\etc\\passwd.zip",
    "right-to-left": "\u202epiz.zip",
    "markup": "<script>alert(1)</script>.zip",
}
"""Names of the upload itself."""

JUNK = {"__MACOSX/._a": b"x", ".DS_Store": b"x", "Thumbs.db": b"x", "report.pdf": b"%PDF-1.7", "readme.txt": b"hello"}
TWINS = {"case": ("DICOM/a.dcm", "DICOM/A.DCM"), "unicode": ("DICOM/\u00e9.dcm", "DICOM/e\u0301.dcm")}
"""Pairs of names that are one to some file systems."""


def rename_first(chest: Chest, name: bytes) -> bytes:
    """Return the study with a strange name for its first file."""
    first, *others = chest.files.values()
    numbered = (honest(b"%d" % number, content) for number, content in enumerate(others))
    return pack_raw(honest(name, first, flags=UTF8_FLAG), *numbered)


def _rename_two(chest: Chest, names: tuple[str, str]) -> bytes:
    first, second, *others = chest.files.values()
    return pack({names[0]: first, names[1]: second, **{f"{n}": content for n, content in enumerate(others)}})


CASES: tuple[Case, ...] = (
    *(
        Case(
            f"B18-{kind}",
            f"A file name that is strange ({kind})",
            partial(rename_first, name=name),
            accepted(study=whole),
        )
        for kind, name in STRANGE_NAMES.items()
    ),
    *(
        Case(
            f"B18-upload-{kind}",
            f"The upload itself has a strange name ({kind})",
            lambda chest: pack(chest.files),
            accepted(study=whole),
            Sending(file_name=name),
        )
        for kind, name in UPLOAD_NAMES.items()
    ),
    Case(
        "B18-upload-longest",
        "The upload itself has a name of 300 KB, which no header may be long",
        lambda chest: pack(chest.take(0, 3)),
        refused(400, "malformed_request"),
        Sending(file_name="x" * 300_000 + ".zip"),
    ),
    *(
        Case(
            f"B19-{kind}",
            f"Two names that are equal after folding ({kind})",
            partial(_rename_two, names=names),
            accepted(study=whole),
        )
        for kind, names in TWINS.items()
    ),
    Case(
        "B20-no-images",
        "Only texts, a PDF and what a file manager leaves",
        lambda _: pack(JUNK),
        rejected("no_dicom_images", files={"junk": 3, "not_dicom": 2}),
    ),
    Case("B20-no-entries", "A ZIP without entries", lambda _: pack({}), unopened("no_dicom_images")),
    Case(
        "G-junk",
        "A study with texts, a PDF and what a file manager leaves",
        lambda chest: pack({**JUNK, **chest.files}),
        accepted(files={"junk": 3, "not_dicom": 2}, study=whole),
    ),
)
