"""Rules of the house that no linter knows, held over every module of ours."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = (
    "benchmarks",
    "client",
    "deploy",
    "gateway",
    "migrations",
    "model_weights",
    "phantom",
    "shared",
    "training",
    "workers",
)
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
CELERY_SEAM = ROOT / "workers" / "runtime" / "celery_app.py"
VAGUE_NAMES = {"utils", "helpers", "common", "misc", "util", "helper"}


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def iterate_functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(parse(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def iterate_calls(path: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(parse(path)) if isinstance(node, ast.Call))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
class TestEveryModule:
    def test_stays_under_four_hundred_lines(self, path: Path) -> None:
        assert len(path.read_text().splitlines()) <= 400

    def test_keeps_its_functions_under_forty_lines(self, path: Path) -> None:
        long = [f.name for f in iterate_functions(path) if (f.end_lineno or f.lineno) - f.lineno >= 40]
        assert not long

    def test_bears_a_name_that_says_something(self, path: Path) -> None:
        assert path.stem not in VAGUE_NAMES

    def test_sends_no_delayed_message_and_commits_only_at_the_seam(self, path: Path) -> None:
        refused = {"delay", "apply_async", "commit"}
        names = {call.func.attr for call in iterate_calls(path) if isinstance(call.func, ast.Attribute)}
        keywords = {keyword.arg for call in iterate_calls(path) for keyword in call.keywords}
        assert not names & refused
        assert not keywords & {"countdown", "eta"}

    def test_makes_no_task_of_its_own(self, path: Path) -> None:
        names = {node.attr for node in ast.walk(parse(path)) if isinstance(node, ast.Attribute)}
        assert path == CELERY_SEAM or not names & {"shared_task", "send_task"}


class TestPublicDoors:
    @pytest.mark.parametrize("package", PACKAGES)
    def test_every_package_says_what_it_is(self, package: str) -> None:
        for init in (ROOT / package).rglob("__init__.py"):
            assert ast.get_docstring(parse(init)), f"{init.relative_to(ROOT)} needs a docstring"
