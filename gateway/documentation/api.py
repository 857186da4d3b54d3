"""`/docs`, and the way there."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse

from gateway.documentation.markup import HEADERS
from gateway.documentation.page import render_page

router = APIRouter(include_in_schema=False)


@router.get("/")
async def lead_to_docs() -> RedirectResponse:
    """Send whoever opens the bare address to the API reference."""
    return RedirectResponse("/docs")


@router.get("/docs")
async def read_docs(request: Request) -> HTMLResponse:
    """Show the API reference."""
    page = render_page(request.app.openapi())
    return HTMLResponse(page, headers=HEADERS)
