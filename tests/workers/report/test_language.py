"""Both languages say the same things, of everything that may have to be said."""

from __future__ import annotations

import string

import pytest

from shared.notices import NoticeCode
from shared.settings import ReportLanguage
from shared.stages import MODELS, SkipReason
from workers.fusion.answers import NO_VALUES, NOT_FUSED
from workers.report.language import Language, load_texts
from workers.report.maker import KINDS

TEXTS = {language: load_texts(language) for language in Language}
KEYS = [(section, key) for section, texts in TEXTS[Language.ENGLISH].items() for key in texts]


def list_facts(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


class TestTexts:
    def test_every_language_has_every_key_and_no_other(self) -> None:
        keys = [[(section, key) for section, texts in told.items() for key in texts] for told in TEXTS.values()]
        assert all(of_language == keys[0] for of_language in keys)

    @pytest.mark.parametrize(("section", "key"), KEYS)
    def test_a_text_takes_the_same_facts_in_every_language(self, section: str, key: str) -> None:
        facts = [list_facts(told[section][key]) for told in TEXTS.values()]
        assert all(of_language == facts[0] for of_language in facts)

    @pytest.mark.parametrize(("section", "key"), KEYS)
    def test_russian_is_written_in_cyrillic_but_for_names(self, section: str, key: str) -> None:
        text = TEXTS[Language.RUSSIAN][section][key]
        is_name = text in {"CT-CLIP", "Supervised", "MedNeXt", "fVLM", "SHA-256", "{finding}"}
        assert is_name or any("а" <= letter <= "я" or letter == "ё" for letter in text.lower())


class TestWhatMayHaveToBeSaid:
    @pytest.mark.parametrize("language", Language)
    @pytest.mark.parametrize("code", NoticeCode)
    def test_every_warning_is_explained(self, language: Language, code: NoticeCode) -> None:
        kind = language.explain_notice(code)
        assert kind is not None, "write it in workers/report/notices.ru.toml"
        assert kind.meaning.endswith(".")
        assert kind.advice.endswith(".")

    @pytest.mark.parametrize("language", Language)
    @pytest.mark.parametrize(
        "reason",
        [*(reason for reason in SkipReason if reason not in {"no_callback", "validate_only"}), NO_VALUES, NOT_FUSED],
    )
    def test_every_reason_of_a_missing_model_is_explained(self, language: Language, reason: str) -> None:
        assert reason in TEXTS[language]["reasons"]

    @pytest.mark.parametrize("language", Language)
    def test_every_model_has_a_name(self, language: Language) -> None:
        assert {*MODELS, "fusion", "segmentation", "intake"} <= set(TEXTS[language]["stages"])

    def test_an_unknown_reason_stands_as_it_came(self) -> None:
        assert Language.ENGLISH.explain_reason("moon_phase") == "moon phase"


class TestSettings:
    def test_the_operator_may_choose_every_language_and_no_other(self) -> None:
        assert [*map(str, ReportLanguage)] == [*map(str, Language)] == [*map(str, KINDS)]


class TestNumbers:
    @pytest.mark.parametrize(("language", "text"), [(Language.ENGLISH, "\u22120.12"), (Language.RUSSIAN, "\u22120,12")])
    def test_have_the_decimal_sign_of_the_language(self, language: Language, text: str) -> None:
        assert language.write(-0.123) == text

    def test_may_bear_their_sign(self) -> None:
        assert Language.ENGLISH.write(0.5, signed=True) == "+0.50"
