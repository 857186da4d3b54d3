"""Changes to bytes of which nothing is known, and the numbers that break parsers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

Mutation = Callable[[Random, bytes], bytes]

NUMBERS = (0, 1, 2, 4, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000,
           0xFFFFFFFE, 0xFFFFFFFF, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)  # fmt: skip
TEXTS = (b"", b" ", b"0", b"-0", b"-1", b"1", b"2", b"1e308", b"1e-308", b"-1e309", b"nan", b"inf", b"-inf", b"1_0",
         b"0x10", b"99999999999999999999", b"1\\2", b"1\\2\\3", b"1\\0\\0\\0\\1\\0", b"\\" * 40, b"9" * 300,
         b"9" * 5000, b"\x00" * 8, b"YES", b"CT", b"\xff\xfe", b"\xd9\xa1\xd9\xa2", b"A" * 70_000)  # fmt: skip
_LONGEST_RUN = 64


def pick_number(random: Random, *, near: int = 0) -> int:
    """Return a number that is likely to break something: a limit, or one close to what is right."""
    return random.choice(
        (random.choice(NUMBERS), max(0, near + random.randint(-9, 9)), random.getrandbits(16), near * 2)
    )


def overwrite_number(random: Random, content: bytes, offset: int, size: int) -> bytes:
    """Replace a little-endian number of `size` bytes."""
    near = int.from_bytes(content[offset : offset + size], "little")
    number = pick_number(random, near=near) & ((1 << 8 * size) - 1)
    return content[:offset] + number.to_bytes(size, "little") + content[offset + size :]


def mutate_bytes(random: Random, content: bytes) -> bytes:
    """Change bytes anywhere."""
    return random.choice(_MUTATIONS)(random, content)


def mutate_often(random: Random, content: bytes, mutations: Sequence[Mutation], *, most: int = 4) -> bytes:
    """Apply one or some mutations, few more often than many."""
    for _ in range(min(most, 1 + int(random.expovariate(1.0)))):
        content = random.choice(mutations)(random, content)
    return content


def _pick_range(random: Random, content: bytes) -> tuple[int, int]:
    start = random.randrange(len(content) + 1)
    return start, min(len(content), start + random.randint(1, random.choice((2, 8, _LONGEST_RUN, 4096))))


def _flip_bit(random: Random, content: bytes) -> bytes:
    if not content:
        return content
    offset = random.randrange(len(content))
    return content[:offset] + bytes([content[offset] ^ 1 << random.randrange(8)]) + content[offset + 1 :]


def _set_number(random: Random, content: bytes) -> bytes:
    size = random.choice((1, 2, 4, 8))
    offset = random.randrange(max(1, len(content) - size))
    order = "big" if random.random() < 0.3 else "little"
    number = pick_number(random) & ((1 << 8 * size) - 1)
    return content[:offset] + number.to_bytes(size, order) + content[offset + size :]  # type: ignore[arg-type]  # literals


def _insert(random: Random, content: bytes) -> bytes:
    offset = random.randrange(len(content) + 1)
    return content[:offset] + random.randbytes(random.randint(1, _LONGEST_RUN)) + content[offset:]


def _delete(random: Random, content: bytes) -> bytes:
    start, end = _pick_range(random, content)
    return content[:start] + content[end:]


def _repeat(random: Random, content: bytes) -> bytes:
    start, end = _pick_range(random, content)
    return content[:end] + content[start:end] * random.choice((1, 1, 2, 20)) + content[end:]


def _move(random: Random, content: bytes) -> bytes:
    start, end = _pick_range(random, content)
    rest = content[:start] + content[end:]
    offset = random.randrange(len(rest) + 1)
    return rest[:offset] + content[start:end] + rest[offset:]


def _randomize(random: Random, content: bytes) -> bytes:
    start, end = _pick_range(random, content)
    return content[:start] + random.randbytes(end - start) + content[end:]


def _cut(random: Random, content: bytes) -> bytes:
    return content[: random.randrange(len(content) + 1)]


_MUTATIONS: tuple[Mutation, ...] = (_flip_bit, _set_number, _insert, _delete, _repeat, _move, _randomize, _cut)
