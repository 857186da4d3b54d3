"""The catalogue of what may become of a file."""

from __future__ import annotations

import pytest

from shared.file_codes import FILE_CODES, FileCode, FileOutcome
from tests.shared.words import find_uses


class TestEveryCode:
    def test_is_in_the_catalogue_in_the_order_of_the_codes(self) -> None:
        assert list(FILE_CODES) == list(FileCode)

    @pytest.mark.parametrize("code", list(FileCode))
    def test_tells_what_it_means_and_what_to_do(self, code: FileCode) -> None:
        kind = FILE_CODES[code]
        assert kind.outcome is not FileOutcome.USED
        assert kind.meaning.endswith(".")
        assert kind.advice.endswith(".")

    @pytest.mark.parametrize("code", list(FileCode))
    def test_is_used_by_a_worker(self, code: FileCode) -> None:
        assert find_uses(f"FileCode.{code.name}")
