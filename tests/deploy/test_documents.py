"""Pages that are made from the code say what the code says."""

from __future__ import annotations

import re

import pytest

from deploy.documents import DOCS, PAGES, PROBLEMS, find_stale
from shared.file_codes import FileCode
from shared.notices import NoticeCode
from shared.problems import ProblemCode
from shared.settings import Settings


class TestMadePages:
    @pytest.mark.parametrize("name", PAGES)
    def test_are_as_the_code_has_them(self, name: str) -> None:
        assert (DOCS / name).read_text("utf-8") == PAGES[name](), "run `make docs`"

    def test_are_of_no_code_that_is_gone(self) -> None:
        assert not find_stale(), "run `make docs`"

    @pytest.mark.parametrize("code", list(ProblemCode))
    def test_are_one_for_every_problem_code_and_listed(self, code: ProblemCode) -> None:
        page, index = PAGES[f"{PROBLEMS}/{code}.md"](), PAGES[f"{PROBLEMS}/README.md"]()
        assert f"({code}.md)" in index
        assert all(f"## {part}\n\n" in page for part in ("Cause", "What to do", "Example", "Related"))

    @pytest.mark.parametrize("name", PAGES)
    def test_lead_to_pages_that_are_there(self, name: str) -> None:
        links = re.findall(r"\]\(([\w./-]+)\)", PAGES[name]())
        assert not [link for link in links if not (DOCS / name).parent.joinpath(link).exists()]

    def test_name_every_code_of_a_file_and_every_warning(self) -> None:
        assert not [code for code in FileCode if f"`{code}`" not in PAGES["file-codes.md"]()]
        assert not [code for code in NoticeCode if f"`{code}`" not in PAGES["warnings.md"]()]

    def test_describe_every_setting(self) -> None:
        assert not [name for name, field in Settings.model_fields.items() if not field.description]
        assert not [name for name in Settings.model_fields if f"`CTCLIP_{name.upper()}`" not in PAGES["settings.md"]()]
