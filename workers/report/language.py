"""The languages of the report. What is said stands in `texts.*.toml`; numbers and names follow the language too."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from functools import cache
from importlib import resources
from itertools import count
from typing import Any

from shared.notices import NOTICES, NoticeCode, NoticeKind

Texts = Mapping[str, Mapping[str, str]]


class Language(StrEnum):
    """Languages that a report is written in, by their ISO 639-1 code."""

    ENGLISH = "en"
    RUSSIAN = "ru"

    def say(self, section: str, key: str, **facts: object) -> str:
        """Return a text with its facts filled in."""
        return load_texts(self)[section][key].format(**facts)

    def name_stage(self, stage: str) -> str:
        """Return what a stage or model is called; as it came where nobody knows it."""
        return load_texts(self)["stages"].get(stage, stage)

    def explain_reason(self, reason: str) -> str:
        """Return why a model did not answer; an unknown reason as it came."""
        return load_texts(self)["reasons"].get(reason, reason.replace("_", " "))

    def name_finding(self, finding: Mapping[str, Any]) -> str:
        """Return the name of a finding of the result."""
        return str(finding["name_ru"] if self is Language.RUSSIAN else finding["name"])

    def explain_notice(self, code: str) -> NoticeKind | None:
        """Return what a warning means and what to do; None for a code that nobody has written about."""
        if self is Language.RUSSIAN:
            return _load_russian_notices().get(code)
        return NOTICES[NoticeCode(code)] if code in set(NoticeCode) else None

    def write(self, value: float, digits: int = 2, *, signed: bool = False) -> str:
        """Return a number with so many decimals, with a true minus and the language's decimal sign."""
        text = f"{value:{'+' if signed else ''}.{digits}f}".replace("-", "\u2212")
        return text.replace(".", ",") if self is Language.RUSSIAN else text

    def write_threshold(self, threshold: float) -> str:
        """Return a threshold with all the decimals that it has, two at least."""
        exponent = Decimal(str(threshold)).as_tuple().exponent
        return self.write(threshold, max(2, -int(exponent)))

    def write_beside(self, probability: float, threshold: float) -> str:
        """Return a probability with three decimals, or as many more as leave it on its side of the threshold."""
        is_reached = probability >= threshold
        digits = next(digits for digits in count(3) if (round(probability, digits) >= threshold) == is_reached)
        return self.write(probability, digits)


@cache
def load_texts(language: Language) -> Texts:
    """Return all texts of a language, by section and key."""
    return tomllib.loads(_read(f"texts.{language}.toml"))


@cache
def _load_russian_notices() -> Mapping[str, NoticeKind]:
    return {code: NoticeKind(**texts) for code, texts in tomllib.loads(_read("notices.ru.toml")).items()}


def _read(name: str) -> str:
    return resources.files("workers.report").joinpath(name).read_text(encoding="utf-8")
