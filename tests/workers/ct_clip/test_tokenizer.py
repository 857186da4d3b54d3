"""Tokens of prompts; the ids themselves are compared in tests/parity."""

from __future__ import annotations

import hashlib

import pytest

from shared.errors import Defect
from shared.features import CT_CLIP_LABELS
from workers.ct_clip.prompts import make_prompts
from workers.ct_clip.tokenizer import encode_prompts, explain_unreadable, make_tokenizer
from workers.ct_clip.vocabulary import VOCABULARY_FILE


class TestVocabulary:
    def test_it_is_the_one_that_the_weights_were_trained_with(self) -> None:
        digest = hashlib.sha256(VOCABULARY_FILE.read_bytes()).hexdigest()
        assert digest == "e025f479c3a7ce6e248971bfe1b409708db0439e9488d30e254f81f27f75d678"

    def test_one_without_special_tokens_is_refused(self) -> None:
        with pytest.raises(Defect, match=r"lacks \['\[MASK\]'\]"):
            make_tokenizer("[PAD]\n[UNK]\n[CLS]\n[SEP]\nnodule", 16)


class TestPrompts:
    def test_each_label_is_stated_and_denied(self) -> None:
        assert make_prompts(["Cardiomegaly"]) == ["Cardiomegaly is present.", "Cardiomegaly is not present."]

    def test_every_standard_prompt_is_known_word_by_word_and_short(self) -> None:
        tokenizer = make_tokenizer(VOCABULARY_FILE.read_text(), 512)
        token_ids, mask = encode_prompts(tokenizer, make_prompts(CT_CLIP_LABELS))
        assert token_ids.shape == (110, 15)
        assert not (token_ids == 1).any()
        assert ((token_ids != 0) == mask.bool()).all()

    @pytest.mark.parametrize(
        ("text", "told"), [("A stent.", None), ("A [SEP] stent.", "unknown_words"), ("肺", "unknown_words")]
    )
    def test_a_token_that_is_written_out_is_not_read_as_one(self, text: str, told: str | None) -> None:
        assert explain_unreadable(make_tokenizer(VOCABULARY_FILE.read_text(), 512), text) == told

    def test_a_long_text_is_cut_and_still_ends(self) -> None:
        tokenizer = make_tokenizer(VOCABULARY_FILE.read_text(), 512)
        token_ids, _ = encode_prompts(tokenizer, ["nodule " * 600])
        assert token_ids.shape == (1, 512)
        assert (int(token_ids[0, 0]), int(token_ids[0, -1])) == (2, 3)
