"""Whether an answer is for a browser or for a program (RFC 9110, 12.5.1)."""

from __future__ import annotations

from fastapi import Request

_HTML = "text/html"
_JSON = "application/json"
VARIES = {"Vary": "Accept"}
"""Header of every answer that `wants_page` decides about."""


def wants_page(request: Request) -> bool:
    """Say whether a request names HTML, and no JSON that it likes better."""
    likings = dict(_parse(part) for part in request.headers.get("accept", "").split(","))
    return likings.get(_HTML, 0.0) > 0 and likings[_HTML] >= likings.get(_JSON, 0.0)


def _parse(part: str) -> tuple[str, float]:
    media_type, *parameters = (word.strip().lower() for word in part.split(";"))
    quality = next((word[2:] for word in parameters if word.startswith("q=")), "1")
    try:
        return media_type, float(quality)
    except ValueError:
        return media_type, 0.0
