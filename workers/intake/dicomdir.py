"""What a DICOMDIR lists (PS3.3 F, PS3.10 8): only to be compared with the files that came, never to find them.

Its structure of offsets is not followed: each ReferencedFileID is found by its tag. A hostile DICOMDIR can so neither
loop nor nest, and what makes no sense is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice

# (0004,1500) with VR CS and two bytes of length as PS3.10 wants it, or with four bytes of length and no VR.
_REFERENCE = re.compile(rb"\x04\x00\x00\x15(?:CS(?P<explicit>..)|(?P<implicit>..\x00\x00))", re.DOTALL)
_COMPONENT = re.compile(r"[A-Z0-9_ .+-]{1,64}")
_LONGEST_VALUE = 1024
_MOST_COMPONENTS = 16
_MOST_REFERENCES = 100_000
_ENDINGS = re.compile(r"(?:\.DCM|\.)?(?:;\d+)?$")

FileId = tuple[str, ...]
"""Components of a path from the folder of the DICOMDIR, upper case."""


def read_referenced_files(content: bytes) -> frozenset[FileId]:
    """Return the ReferencedFileIDs in a DICOMDIR; whatever else it holds is passed over."""
    found = (_read_reference(content, match) for match in _REFERENCE.finditer(content))
    return frozenset(islice((file_id for file_id in found if file_id), _MOST_REFERENCES))


def _read_reference(content: bytes, match: re.Match[bytes]) -> FileId | None:
    length = int.from_bytes(match["explicit"] or match["implicit"], "little")
    if not 0 < length <= _LONGEST_VALUE or match.end() + length > len(content):
        return None
    text = content[match.end() : match.end() + length].decode("latin-1").rstrip("\x00 ").upper()
    components = tuple(component.strip() for component in text.split("\\"))
    is_plain = all(_COMPONENT.fullmatch(component) and component.strip(".") for component in components)
    return components if is_plain and len(components) <= _MOST_COMPONENTS else None


def find_absent(referenced: frozenset[FileId], names: Iterable[str]) -> tuple[str, ...]:
    """Return which of the referenced files are not among the names of an archive, sorted.

    The DICOMDIR may lie in any folder, so the end of a name counts. Case does not, nor do `.dcm` or the version that
    an ISO 9660 medium appends.
    """
    lengths = {len(file_id) for file_id in referenced}
    present: set[FileId] = set()
    for name in names:
        components = tuple(_ENDINGS.sub("", name.upper().replace("\\", "/")).split("/"))
        present.update(components[-length:] for length in lengths if length <= len(components))
    absent = (file_id for file_id in referenced if _strip_ending(file_id) not in present)
    return tuple(sorted("/".join(file_id) for file_id in absent))


def _strip_ending(file_id: FileId) -> FileId:
    return (*file_id[:-1], _ENDINGS.sub("", file_id[-1]))
