"""ETag and If-None-Match (RFC 9110): an answer that has not changed is not sent again."""

from __future__ import annotations

import hashlib

from fastapi import Request
from starlette.responses import Response

JSON = "application/json"


def answer_unless_known(
    request: Request, body: bytes, *, headers: dict[str, str] | None = None, judged: bytes | None = None
) -> Response:
    """Return a JSON body with its ETag, or 304 when the caller has it.

    `judged` is the part of the body that matters, where bodies may differ and mean the same; the ETag is weak then.
    """
    etag = f'"{hashlib.sha256(judged or body).hexdigest()[:32]}"'
    etag = etag if judged is None else f"W/{etag}"
    kept = {**(headers or {}), "ETag": etag, "Cache-Control": "private, no-cache"}
    if is_known(request, etag):
        return Response(status_code=304, headers=kept)
    return Response(body, media_type=JSON, headers=kept)


def is_known(request: Request, etag: str) -> bool:
    """Say whether If-None-Match names the ETag (weak comparison)."""
    names = [name.strip().removeprefix("W/") for name in request.headers.get("if-none-match", "").split(",")]
    return etag.removeprefix("W/") in names or "*" in names
