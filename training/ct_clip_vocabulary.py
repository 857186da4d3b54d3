"""The vocabulary of the demo CT-CLIP: every word of its prompts and reports, and single characters for all others.

`python -m training.ct_clip_vocabulary` prints it. It is a function of the prompts and of the wordings of reports, so
that training and publication cannot disagree; the published file stands beside the weights.
"""

from __future__ import annotations

import string
import sys
from collections.abc import Iterator, Sequence

from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from phantom.report import ABNORMAL, ABSENT, NORMAL, PLACES, PRESENT, SIDES, WORDINGS
from shared.features import CT_CLIP_LABELS
from workers.ct_clip.prompts import make_prompts

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_CYRILLIC = "абвгдежзийклмнопрстуфхцчшщъыьэюя"
_LETTERS = string.ascii_lowercase + string.digits + _CYRILLIC
_CONTINUATION = "##"
_LARGEST_SIZE_MM = 100


def make_vocabulary() -> str:
    """Return the tokens, one a line, special ones first; the same on every machine."""
    words = {word for text in _list_texts() for word in _split(text)}
    sizes = {str(size) for size in range(_LARGEST_SIZE_MM)}
    characters = {*_LETTERS, *string.punctuation, *(_CONTINUATION + letter for letter in _LETTERS)}
    return "\n".join([*SPECIAL, *sorted(words | sizes | characters)]) + "\n"


def _list_texts() -> Sequence[str]:
    templates = (*PRESENT, *ABSENT, *NORMAL, *ABNORMAL, *PLACES)
    said = [text for wording in WORDINGS.values() for text in (*wording.names, *_list_degrees(wording.degrees))]
    return [*make_prompts(CT_CLIP_LABELS), *said, *SIDES, "mm", *templates]


def _list_degrees(degrees: Sequence[Sequence[str]]) -> Iterator[str]:
    return (word for words in degrees for word in words)


def _split(text: str) -> Iterator[str]:
    normalised = BertNormalizer(lowercase=True).normalize_str(text)
    return (word for word, _ in BertPreTokenizer().pre_tokenize_str(normalised))


if __name__ == "__main__":
    sys.stdout.write(make_vocabulary())
