"""The OpenAPI document as one HTML page: no script, nothing from elsewhere. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """
:root{color-scheme:light dark;--line:color-mix(in srgb,currentColor 18%,transparent)}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
code,pre{font:14px/1.45 ui-monospace,monospace}
pre{overflow-x:auto;padding:.6rem .8rem;border:1px solid var(--line);border-radius:6px}
details{border:1px solid var(--line);border-radius:6px;margin:.5rem 0;padding:.5rem .8rem}
details details{margin:.35rem 0}
summary{cursor:pointer}
.method{display:inline-block;min-width:4.2rem;font-weight:700}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.25rem .6rem .25rem 0;border-bottom:1px solid var(--line)}
"""


def render_page(document: Mapping[str, Any]) -> str:
    """Return the page."""
    info = document["info"]
    return "".join(
        (
            "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
            "<meta name='viewport' content='width=device-width'>",
            f"<title>{escape(info['title'])}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>",
            f"<p>{_prose(info['description'])}</p>",
            "<p>Machine-readable: <a href='/openapi.json'>/openapi.json</a>. ",
            "Problem codes: <a href='/v1/problems'>/v1/problems</a>. ",
            "Schema of the result: <a href='/v1/schemas/result'>/v1/schemas/result</a>.</p>",
            *_render_tags(document),
            "<h2>Schemas</h2>",
            *(_render_schema(name, schema) for name, schema in sorted(document["components"]["schemas"].items())),
            "</body></html>",
        )
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
            f"<p>{_prose(operation.get('description', ''))}</p>",
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
        f"<tr><td><code>{escape(parameter['name'])}</code></td><td>{escape(parameter['in'])}</td>"
        f"<td>{_prose(parameter.get('description') or parameter['schema'].get('description', ''))}</td></tr>"
        for parameter in parameters
    )
    return f"<table><tr><th>Parameter</th><th>In</th><th>Meaning</th></tr>{''.join(rows)}</table>"


def _render_body(body: Mapping[str, Any] | None) -> str:
    if body is None:
        return ""
    kinds = "".join(
        _render_json(media_type, content.get("schema", {})) for media_type, content in body["content"].items()
    )
    return f"<p>Body: {_prose(body.get('description', ''))}</p>{kinds}"


def _render_response(status: str, response: Mapping[str, Any]) -> str:
    parts = []
    for media_type, content in response.get("content", {}).items():
        parts.append(_render_json(media_type, content.get("schema", {})))
        for name, example in content.get("examples", {}).items():
            parts.append(_render_json(f"example {name}", example["value"]))
    summary = f"<summary><b>{escape(status)}</b> {_prose(response.get('description', ''))}</summary>"
    return f"<details>{summary}{''.join(parts)}</details>"


def _render_schema(name: str, schema: Mapping[str, Any]) -> str:
    summary = f"<summary><code>{escape(name)}</code></summary>"
    return f"<details id='{escape(name)}'>{summary}{_render_json('', schema)}</details>"


def _render_json(title: str, value: object) -> str:
    text = escape(json.dumps(value, indent=2, ensure_ascii=False))
    linked = re.sub(r"&quot;#/components/schemas/(\w+)&quot;", r"<a href='#\1'>\1</a>", text)
    caption = f"<div><code>{escape(title)}</code></div>" if title else ""
    return f"{caption}<pre>{linked}</pre>"


def _prose(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
