"""The catalogue of warnings, held against those that workers give."""

from __future__ import annotations

import ast

import pytest

from shared.notices import NOTICES, NoticeCode
from tests.shared.words import WORKERS, find_uses

CLASSES = {"Notice", "StageWarning"}


def list_given() -> set[str]:
    """Return the code of every warning that a worker makes by a literal."""
    calls = (node for path in WORKERS for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    made = (call.args[0] for call in calls if isinstance(call.func, ast.Name) and call.func.id in CLASSES and call.args)
    return {str(argument.value) for argument in made if isinstance(argument, ast.Constant)}


class TestEveryWarning:
    def test_of_a_worker_is_in_the_catalogue(self) -> None:
        given = list_given()
        assert given
        assert not given - set(NoticeCode), "tell what it means in shared/notices.py, and run `make docs`"

    def test_is_in_the_catalogue_in_the_order_of_the_codes(self) -> None:
        assert list(NOTICES) == list(NoticeCode)

    @pytest.mark.parametrize("code", list(NoticeCode))
    def test_tells_what_it_means_and_what_to_do(self, code: NoticeCode) -> None:
        assert NOTICES[code].meaning.endswith(".")
        assert NOTICES[code].advice.endswith(".")

    @pytest.mark.parametrize("code", list(NoticeCode))
    def test_is_given_by_a_worker(self, code: NoticeCode) -> None:
        assert find_uses(f'"{code}"') or find_uses(f"NoticeCode.{code.name}")
