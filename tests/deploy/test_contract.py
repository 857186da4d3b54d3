"""The description of the API breaks no caller unnoticed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from deploy.contract import list_breaks
from deploy.documents import find_breaks, render_openapi

Document = dict[str, Any]

BASE: Document = {
    "paths": {
        "/jobs": {
            "post": {
                "parameters": [
                    {"in": "query", "name": "priority", "schema": {"type": "integer", "maximum": 9}},
                    {"in": "query", "name": "models", "schema": {"type": "string", "enum": ["a", "b"]}},
                ],
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Ask"}}}},
                "responses": {
                    "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Job"}}}},
                    "409": {"content": {"application/problem+json": {"schema": {"type": "object"}}}},
                },
            }
        }
    },
    "components": {
        "schemas": {
            "Ask": {"type": "object", "properties": {"size": {"type": "integer"}}, "required": ["size"]},
            "Job": {
                "type": "object",
                "properties": {
                    "id": {"type": "string"},
                    "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Job"}},
                    "eta": {"anyOf": [{"type": "number"}, {"type": "null"}]},
                },
                "required": ["id", "eta"],
            },
        }
    },
}


def post(document: Document) -> Any:  # noqa: ANN401  # a piece of JSON
    return document["paths"]["/jobs"]["post"]


def ask(document: Document) -> Any:  # noqa: ANN401  # a piece of JSON
    return document["components"]["schemas"]["Ask"]


def job(document: Document) -> Any:  # noqa: ANN401  # a piece of JSON
    return document["components"]["schemas"]["Job"]


BREAKS: dict[str, Callable[[Document], object]] = {
    "POST /jobs: gone": lambda new: new["paths"]["/jobs"].pop("post"),
    "POST /jobs query priority: gone": lambda new: post(new)["parameters"].pop(0),
    "POST /jobs query priority: stricter maximum": lambda new: post(new)["parameters"][0]["schema"].update(maximum=5),
    "POST /jobs query models: refuses b": lambda new: post(new)["parameters"][1]["schema"].update(enum=["a"]),
    "POST /jobs query priority: newly required": lambda new: post(new)["parameters"][0].update(required=True),
    "POST /jobs 200: gone": lambda new: post(new)["responses"].pop("200"),
    "POST /jobs body application/json: gone": lambda new: post(new)["requestBody"].update(content={}),
    "POST /jobs body application/json name: newly required": lambda new: ask(new)["required"].append("name"),
    "POST /jobs body application/json size: gone": lambda new: ask(new)["properties"].pop("size"),
    "POST /jobs body application/json size: integer is refused now": lambda new: ask(new)["properties"].update(
        size={"type": "string"}
    ),
    "POST /jobs 200 application/json id: gone": lambda new: job(new)["properties"].pop("id"),
    "POST /jobs 200 application/json id: may be absent now": lambda new: job(new)["required"].remove("id"),
    "POST /jobs 200 application/json id: null may come now": lambda new: job(new)["properties"].update(
        id={"type": ["string", "null"]}
    ),
}
ADDITIONS: dict[str, Callable[[Document], object]] = {
    "a path": lambda new: new["paths"].update({"/x": {"get": {"responses": {"200": {}}}}}),
    "an optional parameter": lambda new: post(new)["parameters"].append({"in": "query", "name": "x", "schema": {}}),
    "a higher limit": lambda new: post(new)["parameters"][0]["schema"].update(maximum=10),
    "a value": lambda new: post(new)["parameters"][1]["schema"]["enum"].append("c"),
    "an optional field": lambda new: ask(new)["properties"].update(name={"type": "string"}),
    "a field of the answer": lambda new: job(new)["properties"].update(more={"type": "string"}),
    "a promise": lambda new: job(new)["properties"].update(eta={"type": "number"}),
    "a problem": lambda new: post(new)["responses"].update({"429": {}}),
    "a problem less": lambda new: post(new)["responses"].pop("409"),
}


def change(edit: Callable[[Document], object]) -> Document:
    new = copy.deepcopy(BASE)
    edit(new)
    return new


class TestAComparison:
    @pytest.mark.parametrize("told", BREAKS)
    def test_finds_what_breaks(self, told: str) -> None:
        assert told in list_breaks(BASE, change(BREAKS[told]))

    @pytest.mark.parametrize("what", ADDITIONS)
    def test_lets_additions_pass(self, what: str) -> None:
        assert list_breaks(BASE, change(ADDITIONS[what])) == []

    def test_of_the_real_description_with_itself_finds_nothing(self) -> None:
        document = json.loads(render_openapi())
        assert list_breaks(document, document) == []

    def test_of_the_real_description_sees_a_field_go(self) -> None:
        before, after = json.loads(render_openapi()), json.loads(render_openapi())
        del after["components"]["schemas"]["JobBody"]["properties"]["progress"]
        assert any("progress: gone" in line for line in list_breaks(before, after))


class TestTheDescription:
    def test_breaks_no_caller_of_the_one_that_is_written_down(self) -> None:
        assert find_breaks() == [], "mend it, or run `python -m deploy.documents --breaking`"

    def test_names_every_operation_once(self) -> None:
        paths = json.loads(render_openapi())["paths"].values()
        names = [operation["operationId"] for methods in paths for operation in methods.values()]
        assert len(set(names)) == len(names)
