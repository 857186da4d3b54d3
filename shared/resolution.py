"""Names of hosts into addresses, without holding the event loop up."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence

from shared.callback_urls import CallbackUrl, IpAddress


async def resolve(url: CallbackUrl) -> Sequence[IpAddress]:
    """Return every address of the host, in the order to try them; none when the name leads nowhere.

    It sets no time limit of its own: the caller does.
    """
    if url.literal_address is not None:
        return [url.literal_address]
    try:
        found = await asyncio.get_running_loop().getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(ipaddress.ip_address(str(place[0]).partition("%")[0]) for *_, place in found))
