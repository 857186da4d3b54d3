"""The OpenAPI document as one HTML page: no script, nothing from elsewhere. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from gateway.documentation.markup import render_json, render_prose, render_table, wrap_page


def render_page(document: Mapping[str, Any]) -> str:
    """Return the page."""
    info = document["info"]
    return wrap_page(
        info["title"],
        f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>",
        f"<p>{render_prose(info['description'])}</p>",
        "<p>Machine-readable: <a href='/openapi.json'>/openapi.json</a>. ",
        "Problem codes: <a href='/v1/problems'>/v1/problems</a>. ",
        "Codes of files: <a href='/v1/file-codes'>/v1/file-codes</a>. ",
        "Warnings: <a href='/v1/warnings'>/v1/warnings</a>. ",
        "Schema of the result: <a href='/v1/schemas/result'>/v1/schemas/result</a>.</p>",
        *_render_tags(document),
        "<h2>Schemas</h2>",
        *(_render_schema(name, schema) for name, schema in sorted(document["components"]["schemas"].items())),
    )


def _render_tags(document: Mapping[str, Any]) -> Iterator[str]:
    by_tag: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            tag = operation.get("tags", ["Other"])[0]
            by_tag.setdefault(tag, []).append(_render_operation(method, path, operation))
    for tag, operations in by_tag.items():
        yield f"<h2>{escape(tag)}</h2>" + "".join(operations)


def _render_operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    return "".join(
        (
            f"<details><summary><span class='method'>{escape(method.upper())}</span> <code>{escape(path)}</code> ",
            f"{escape(operation.get('summary', ''))}</summary>",
            f"<p>{render_prose(operation.get('description', ''))}</p>",
            _render_parameters(operation.get("parameters", [])),
            _render_body(operation.get("requestBody")),
            *(_render_response(status, response) for status, response in sorted(operation["responses"].items())),
            "</details>",
        )
    )


def _render_parameters(parameters: list[Mapping[str, Any]]) -> str:
    if not parameters:
        return ""
    rows = (
        (
            f"<code>{escape(parameter['name'])}</code>",
            escape(parameter["in"]),
            render_prose(parameter.get("description") or parameter["schema"].get("description", "")),
        )
        for parameter in parameters
    )
    return render_table(("Parameter", "In", "Meaning"), *rows)


def _render_body(body: Mapping[str, Any] | None) -> str:
    if body is None:
        return ""
    kinds = "".join(
        render_json(media_type, content.get("schema", {})) for media_type, content in body["content"].items()
    )
    return f"<p>Body: {render_prose(body.get('description', ''))}</p>{kinds}"


def _render_response(status: str, response: Mapping[str, Any]) -> str:
    parts = []
    for media_type, content in response.get("content", {}).items():
        parts.append(render_json(media_type, content.get("schema", {})))
        for name, example in content.get("examples", {}).items():
            parts.append(render_json(f"example {name}", example["value"]))
    summary = f"<summary><b>{escape(status)}</b> {render_prose(response.get('description', ''))}</summary>"
    return f"<details>{summary}{''.join(parts)}</details>"


def _render_schema(name: str, schema: Mapping[str, Any]) -> str:
    summary = f"<summary><code>{escape(name)}</code></summary>"
    return f"<details id='{escape(name)}'>{summary}{render_json('', schema)}</details>"
