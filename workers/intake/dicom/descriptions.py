"""What the free text of a header says of a series. The text itself may name a person, so only known words are kept."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

CHEST_WORDS = ("CHEST", "THORAX", "LUNG", "PULM", "HRCT")
OTHER_PART_WORDS = (
    "HEAD", "BRAIN", "SKULL", "ORBIT", "SINUS", "NECK", "ABDOM", "LIVER", "KIDNEY", "PELVI", "COLON", "SPINE",
    "LUMBAR", "EXTREMIT", "SHOULDER", "ELBOW", "WRIST", "HAND", "HIP", "LEG", "KNEE", "ANKLE", "FOOT",
)  # fmt: skip
_OTHER_WHOLE_WORDS = frozenset({"HIP", "HAND", "LEG", "FOOT", "HEAD", "NECK"})
_EXPIRATION_WORDS = ("EXPIR", "EXSP", "EXHAL")
_EXPIRATION_WHOLE_WORD = "EXP"
_TIMED_WORDS = ("PORTAL", "NEPHRO", "EXCRET", "DELAY", "HEPAT", "CORONAR", "CARDIAC", "CALCIUM", "RUNOFF", "PERFUS")
_WORD = re.compile(r"[A-Z]+")


@dataclass(frozen=True)
class Described:
    """Parts of the body that are named, breathing, and whether the phase was chosen for another organ than lungs."""

    names_chest: bool
    names_other_part: bool
    is_expiration: bool
    is_timed_elsewhere: bool


NOTHING_DESCRIBED = Described(names_chest=False, names_other_part=False, is_expiration=False, is_timed_elsewhere=False)


@lru_cache(maxsize=256)  # the texts of a series repeat in every slice
def describe_texts(texts: tuple[str, ...]) -> Described:
    """Look for known words in descriptions of a series, whatever their case and the signs between them."""
    words = _WORD.findall(" ".join(texts).upper())
    return Described(
        names_chest=_has_word(words, CHEST_WORDS),
        names_other_part=_has_word(words, OTHER_PART_WORDS),
        is_expiration=_has_word(words, _EXPIRATION_WORDS) or _EXPIRATION_WHOLE_WORD in words,
        is_timed_elsewhere=_has_word(words, _TIMED_WORDS),
    )


def _has_word(words: Iterable[str], beginnings: tuple[str, ...]) -> bool:
    return any(
        word == beginning if beginning in _OTHER_WHOLE_WORDS else word.startswith(beginning)
        for word in words
        for beginning in beginnings
    )
