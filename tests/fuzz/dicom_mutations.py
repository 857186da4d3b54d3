"""Changes to DICOM files that keep most of their structure: tags, lengths, values, nesting, fragments."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from random import Random

from tests.fuzz.byte_mutations import TEXTS, Mutation, mutate_bytes, mutate_often, overwrite_number, pick_number
from workers.intake.dicom.syntaxes import DEFLATED_LITTLE, READABLE
from workers.intake.dicom.tags import Tag

_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_SHORT = (
    b"AE",
    b"AS",
    b"AT",
    b"CS",
    b"DA",
    b"DS",
    b"DT",
    b"FD",
    b"FL",
    b"IS",
    b"LO",
    b"PN",
    b"SH",
    b"SL",
    b"SS",
    b"UI",
    b"US",
)
_GROUPS = (0x00209113, 0x00209116, 0x00289110, 0x00289145, 0x00209111, 0x00189329, 0x00189314, 0x00189325)
_TAGS = (
    *(int(tag) for tag in Tag),
    *_GROUPS,
    0xFFFEE000,
    0xFFFEE00D,
    0xFFFEE0DD,
    0x00041500,
    0x00091001,
    0x7FE00001,
    0,
)
_PIXELS = b"\xe0\x7f\x10\x00"
_SYNTAX = b"\x02\x00\x10\x00UI"
_META_END = 132
_MOST_ELEMENTS = 600
_UNDEFINED = 0xFFFFFFFF
_ITEM = b"\xfe\xff\x00\xe0"
_ITEM_END = b"\xfe\xff\x0d\xe0\x00\x00\x00\x00"
_SEQUENCE_END = b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
_SYNTAXES = (*sorted(READABLE), "1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.110", "", "1.2", "9" * 64)


@dataclass(frozen=True)
class Element:
    """Where an element begins, its length field lies, its value begins, and where it ends."""

    start: int
    length_at: int
    length_size: int
    value: int
    end: int


def find_elements(content: bytes) -> list[Element]:
    """Return the elements of a little-endian file, those inside sequences too, as far as they can be followed."""
    position = _META_END if content[_META_END - 4 : _META_END] == b"DICM" else 0
    elements: list[Element] = []
    while position + 8 <= len(content) and len(elements) < _MOST_ELEMENTS:
        element, is_container = _read_element(content, position)
        elements.append(element)
        position = element.value if is_container else element.end
    return elements


def _read_element(content: bytes, at: int) -> tuple[Element, bool]:
    representation = content[at + 4 : at + 6]
    is_mark = content[at : at + 2] == b"\xfe\xff"
    if not is_mark and representation in _LONG:
        length_at, size = at + 8, 4
    elif not is_mark and representation.isalpha() and representation.isupper():
        length_at, size = at + 6, 2
    else:
        length_at, size = at + 4, 4
    length = int.from_bytes(content[length_at : length_at + size], "little")
    value = length_at + size
    is_container = is_mark or representation == b"SQ" or length == _UNDEFINED
    return Element(at, length_at, size, value, min(len(content), value + length)), is_container


def mutate_dicom(random: Random, content: bytes) -> bytes:
    """Change a DICOM file once or some times."""
    return mutate_often(random, content, _MUTATIONS)


def mutate_pixels(random: Random, content: bytes) -> bytes:
    """Change the pixel data of a DICOM file and nothing before them."""
    at = content.rfind(_PIXELS)
    if at < 0:
        return content
    value = at + (12 if content[at + 4 : at + 6] in _LONG else 8)
    return content[:value] + mutate_often(random, content[value:], _PIXEL_MUTATIONS, most=8)


def _pick(random: Random, content: bytes) -> Element:
    elements = find_elements(content)
    return random.choice(elements) if elements else Element(0, 0, 0, 0, 0)


def _replace_value(content: bytes, element: Element, value: bytes) -> bytes:
    value += b" " * (len(value) % 2)
    length = min(len(value), (1 << 8 * element.length_size) - 1) if element.length_size else 0
    head = content[: element.length_at] + length.to_bytes(element.length_size, "little")
    return head + content[element.length_at + element.length_size : element.value] + value + content[element.end :]


def _set_length(random: Random, content: bytes) -> bytes:
    element = _pick(random, content)
    return overwrite_number(random, content, element.length_at, element.length_size)


def _set_representation(random: Random, content: bytes) -> bytes:
    at = _pick(random, content).start + 4
    return content[:at] + random.choice((*_LONG, *_SHORT, b"ZZ", b"\0\0", b"  ")) + content[at + 2 :]


def _set_tag(random: Random, content: bytes) -> bytes:
    at = _pick(random, content).start
    tag = random.choice(_TAGS)
    return content[:at] + struct.pack("<HH", tag >> 16, tag & 0xFFFF) + content[at + 4 :]


def _set_text(random: Random, content: bytes) -> bytes:
    return _replace_value(content, _pick(random, content), random.choice(TEXTS))


def _set_number(random: Random, content: bytes) -> bytes:
    number = pick_number(random)
    value = random.choice((struct.pack("<H", number & 0xFFFF), struct.pack("<L", number & _UNDEFINED), b"%d" % number))
    return _replace_value(content, _pick(random, content), value)


def _vary_value(random: Random, content: bytes) -> bytes:
    element = _pick(random, content)
    return _replace_value(content, element, mutate_bytes(random, content[element.value : element.end]))


def _delete(random: Random, content: bytes) -> bytes:
    element = _pick(random, content)
    return content[: element.start] + content[element.end :]


def _repeat(random: Random, content: bytes) -> bytes:
    element = _pick(random, content)
    copy = content[element.start : element.end] * random.choice((1, 2, 50))
    at = _pick(random, content).start
    return content[:at] + copy + content[at:]


def _nest(random: Random, content: bytes) -> bytes:
    """Put sequences inside sequences before an element, closed or not."""
    at = _pick(random, content).start
    opening = struct.pack("<HH2sHL", 8, 0x1140, random.choice((b"SQ", b"UN")), 0, _UNDEFINED) + _ITEM + b"\xff" * 4
    depth = random.choice((1, 2, 31, 32, 33, 64, 200))
    closing = (_ITEM_END + _SEQUENCE_END) * random.choice((depth, depth, depth // 2, 0))
    return content[:at] + opening * depth + closing + content[at:]


def _wrap(random: Random, content: bytes) -> bytes:
    """Move an element into a sequence of its own."""
    element = _pick(random, content)
    inner = content[element.start : element.end]
    item = _ITEM + struct.pack("<L", len(inner)) + inner
    tag = random.choice(_TAGS)
    head = struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, b"SQ", 0, len(item))
    return content[: element.start] + head + item + content[element.end :]


def _set_syntax(random: Random, content: bytes) -> bytes:
    at = content.find(_SYNTAX)
    if at < 0:
        return content
    length = int.from_bytes(content[at + 6 : at + 8], "little")
    uid = random.choice(_SYNTAXES).encode()
    uid += bytes(len(uid) % 2)
    return content[: at + 6] + struct.pack("<H", len(uid)) + uid + content[at + 8 + length :]


def _deflate(random: Random, content: bytes) -> bytes:
    """Deflate the dataset, and say so."""
    at = content.find(_SYNTAX)
    if at < 0:
        return content
    end = at + 8 + int.from_bytes(content[at + 6 : at + 8], "little")
    uid = DEFLATED_LITTLE.encode() + b"\0" * (len(DEFLATED_LITTLE) % 2)
    compressor = zlib.compressobj(random.choice((0, 1, 9)), zlib.DEFLATED, -zlib.MAX_WBITS)
    body = content[end:] + bytes(random.choice((0, 0, 1 << 17)))
    deflated = compressor.compress(body) + compressor.flush()
    return (
        content[: at + 6]
        + struct.pack("<H", len(uid))
        + uid
        + random.choice((deflated, mutate_bytes(random, deflated)))
    )


def _mutate_items(random: Random, value: bytes) -> bytes:
    """Change the length of an item, the offset table, or how the stream is cut into fragments."""
    starts = [at for at in range(len(value) - 7) if value[at : at + 4] == _ITEM]
    if not starts:
        return mutate_bytes(random, value)
    at = random.choice(starts)
    kind = random.randrange(4)
    if kind == 0:
        return overwrite_number(random, value, at + 4, 4)
    if kind == 1:
        return value[:at] + value[random.choice((at, *starts)) :]
    length = int.from_bytes(value[at + 4 : at + 8], "little")
    stream = value[at + 8 : at + 8 + length]
    cut = random.randrange(len(stream) + 1)
    parts = (stream[:cut], stream[cut:]) if kind == 2 else (random.randbytes(random.choice((4, 8, 48))), stream)
    items = b"".join(_ITEM + struct.pack("<L", len(part)) + part for part in parts)
    return value[:at] + items + value[at + 8 + length :]


def _mutate_stream(random: Random, value: bytes) -> bytes:
    """Change bytes in the beginning of a stream, where its own header is."""
    start = value.find(_ITEM, 8) + 8
    head = value[start : start + 160]
    return value[:start] + mutate_bytes(random, head) + value[start + 160 :]


def _overwrite(random: Random, value: bytes) -> bytes:
    """Change bytes, and the length of nothing."""
    if not value:
        return value
    at = random.randrange(len(value))
    run = random.randbytes(random.choice((1, 1, 2, 16)))
    return (value[:at] + run + value[at + len(run) :])[: len(value)]


_PIXEL_MUTATIONS: tuple[Mutation, ...] = (
    _mutate_items,
    _mutate_stream,
    _mutate_stream,
    _overwrite,
    _overwrite,
    mutate_bytes,
)
_MUTATIONS: tuple[Mutation, ...] = (
    _set_length, _set_representation, _set_tag, _set_text, _set_text, _set_number, _vary_value, _delete, _repeat, _nest,
    _wrap, _set_syntax, _deflate, mutate_pixels, mutate_bytes,
)  # fmt: skip
