"""The catalogue of problems: complete, and said in words that help."""

from __future__ import annotations

import pytest

from shared.problems import CATALOGUE, Problem, ProblemCode, make_example


class TestEveryCode:
    def test_is_in_the_catalogue_in_the_order_of_the_codes(self) -> None:
        assert list(CATALOGUE) == list(ProblemCode)

    @pytest.mark.parametrize("code", list(ProblemCode))
    def test_says_cause_and_advice_in_sentences(self, code: ProblemCode) -> None:
        kind = CATALOGUE[code]
        assert kind.title
        assert not kind.title.endswith(".")
        assert all(text.endswith((".", ")")) and text[0] != " " for text in (kind.cause, kind.advice))

    @pytest.mark.parametrize("code", list(ProblemCode))
    def test_names_others_that_it_may_be_taken_for(self, code: ProblemCode) -> None:
        related = CATALOGUE[code].related
        assert related
        assert code not in related
        assert len(set(related)) == len(related)

    @pytest.mark.parametrize("code", list(ProblemCode))
    def test_has_an_example_with_the_members_of_a_problem(self, code: ProblemCode) -> None:
        kind, example = CATALOGUE[code], make_example(code)
        assert kind.example is not None
        shown = Problem(code, kind.example.detail, kind.example.facts, kind.example.errors).to_document()
        assert example == {**shown, "instance": kind.example.instance, "trace_id": kind.example.trace_id}

    def test_of_a_server_fault_asks_nobody_to_change_a_study(self) -> None:
        ours = [kind for kind in CATALOGUE.values() if kind.status >= 500]
        assert not [kind.title for kind in ours if "Export" in kind.advice or "Send " in kind.advice]
