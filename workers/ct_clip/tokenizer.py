"""CXR-BERT's tokenizer: BERT's WordPiece over its own vocabulary.

Papers:  Devlin et al., "BERT", arXiv 1810.04805; Boecking et al., arXiv 2204.09817 (vocabulary).
Origin:  `tokenizers` (Apache-2.0). The vocabulary is MIT-licensed, (c) Microsoft; it stands beside this module.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor

from shared.errors import Defect

_PADDING, _UNKNOWN, _START, _END, _MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
_LONGEST_WORD = 100


def make_tokenizer(vocabulary: str, max_tokens: int) -> Tokenizer:
    """Return the tokenizer of a vocabulary (one token a line) that cuts texts to `max_tokens`.

    Raises Defect when a special token is missing.
    """
    tokens = {token: number for number, token in enumerate(vocabulary.splitlines())}
    special = (_PADDING, _UNKNOWN, _START, _END, _MASK)
    missing = [token for token in special if token not in tokens]
    if missing:
        raise Defect(f"the vocabulary lacks {missing}")
    tokenizer = Tokenizer(WordPiece(tokens, unk_token=_UNKNOWN, max_input_chars_per_word=_LONGEST_WORD))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single=f"{_START} $A {_END}", special_tokens=[(token, tokens[token]) for token in (_START, _END)]
    )
    tokenizer.add_special_tokens(list(special))
    tokenizer.enable_truncation(max_tokens)
    # To the longest of a batch: 512 tokens for every prompt would cost thirty times as much and change nothing.
    tokenizer.enable_padding(pad_id=tokens[_PADDING], pad_token=_PADDING)
    return tokenizer


def explain_unreadable(tokenizer: Tokenizer, text: str) -> str | None:
    """Return why a text cannot be read as it stands: `too_long`, `unknown_words`; None when it can.

    A text that writes a special token (`[SEP]`) out would be read as one, so that it counts as unknown as well.
    """
    encoding = tokenizer.encode(text)
    if encoding.overflowing:
        return "too_long"
    own = encoding.tokens[1:-1]
    return "unknown_words" if {_PADDING, _UNKNOWN, _START, _END, _MASK} & {*own} else None


def encode_prompts(tokenizer: Tokenizer, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return token ids and attention mask, both int64 (prompts, tokens)."""
    encodings = tokenizer.encode_batch(list(prompts))
    ids = torch.tensor([encoding.ids for encoding in encodings])
    return ids, torch.tensor([encoding.attention_mask for encoding in encodings])
