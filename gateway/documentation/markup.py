"""What our HTML pages are made of: no script, nothing from elsewhere, everything escaped. Pure."""

from __future__ import annotations

import json
import re
from html import escape

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
}
"""Sent with every page: nothing may be loaded from elsewhere."""

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


def wrap_page(title: str, *parts: str) -> str:
    """Return a page with a title and a body of ready HTML."""
    return "".join(
        (
            "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
            "<meta name='viewport' content='width=device-width'>",
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
            *parts,
            "</body></html>",
        )
    )


def render_json(title: str, value: object) -> str:
    """Return a value as JSON; names of schemas and of problems lead to where they are explained."""
    text = escape(json.dumps(value, indent=2, ensure_ascii=False))
    linked = re.sub(r"&quot;#/components/schemas/(\w+)&quot;", r"<a href='#\1'>\1</a>", text)
    linked = re.sub(r"&quot;(/v1/problems/\w+)&quot;", r"&quot;<a href='\1'>\1</a>&quot;", linked)
    caption = f"<div><code>{escape(title)}</code></div>" if title else ""
    return f"{caption}<pre>{linked}</pre>"


def render_prose(text: str) -> str:
    """Return a text whose words in backquotes are code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def render_table(header: tuple[str, ...], *rows: tuple[str, ...]) -> str:
    """Return a table of ready HTML cells."""
    lines = ("".join(f"<td>{cell}</td>" for cell in row) for row in rows)
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
