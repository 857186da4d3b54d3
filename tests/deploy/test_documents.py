"""Pages that are made from the code say what the code says."""

from __future__ import annotations

import pytest

from deploy.documents import DOCS, PAGES
from shared.problems import ProblemCode
from shared.settings import Settings


class TestMadePages:
    @pytest.mark.parametrize("name", PAGES)
    def test_are_as_the_code_has_them(self, name: str) -> None:
        assert (DOCS / name).read_text("utf-8") == PAGES[name](), "run `make docs`"

    def test_name_every_problem_code(self) -> None:
        assert not [code for code in ProblemCode if f"`{code}`" not in PAGES["problems.md"]()]

    def test_describe_every_setting(self) -> None:
        assert not [name for name, field in Settings.model_fields.items() if not field.description]
        assert not [name for name in Settings.model_fields if f"`CTCLIP_{name.upper()}`" not in PAGES["settings.md"]()]
