"""Judging an address when it is named: by how it is written, and by what its name leads to now.

A name that cannot be resolved now is taken: it may lead somewhere later, and is judged again at every try.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.webhooks.errors import CallbackUrlNotAllowed
from shared.callback_urls import CallbackUrl, IpAddress, RefusedUrl, UrlRefusal, parse_callback_url, vet_addresses
from shared.resolution import resolve
from shared.settings import Settings

_RESOLUTION_LIMIT_S = 2.0


def check_written(name: str, url: str, settings: Settings) -> None:
    """Judge an address as it is written. Raises CallbackUrlNotAllowed for the field `name`."""
    try:
        parse_callback_url(url, settings.webhook_allowed_networks)
    except RefusedUrl as refused:
        raise CallbackUrlNotAllowed(name, refused.refusal) from refused


async def check_address(name: str, url: str, settings: Settings) -> None:
    """Judge an address as it is written and resolved. Raises CallbackUrlNotAllowed for the field `name`."""
    try:
        parsed = parse_callback_url(url, settings.webhook_allowed_networks)
        _vet(parsed, await _resolve_in_time(parsed), settings)
    except RefusedUrl as refused:
        raise CallbackUrlNotAllowed(name, refused.refusal) from refused


def _vet(url: CallbackUrl, addresses: Sequence[IpAddress], settings: Settings) -> None:
    if not addresses and url.scheme == "http":  # nobody can say that it leads into an allowed network
        raise RefusedUrl(UrlRefusal.HTTPS_REQUIRED)
    vet_addresses(url, addresses, settings.webhook_allowed_networks)


async def _resolve_in_time(url: CallbackUrl) -> Sequence[IpAddress]:
    try:
        async with asyncio.timeout(_RESOLUTION_LIMIT_S):
            return await resolve(url)
    except TimeoutError:
        return []
