"""By which names a gateway may be called while it asks nobody who they are.

A page of the web can let its own name lead to this machine (DNS rebinding) and so make a browser here ask on its
behalf; the `Host` header then still says that name. Or it lets a form be sent here; then `Origin` names the page's
host. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from shared.addresses import is_loopback

# RFC 3986, section 3.2: a name or address, an address of IPv6 in brackets, and a port.
_HOST = re.compile(r"(?:\[(?P<bracketed>[0-9A-Fa-f:.]+)\]|(?P<plain>[^\[\]:/@]+))(?::\d*)?")
_LOCAL_NAME = ".localhost"  # RFC 6761, section 6.3: every name below it is this machine


def is_own_name(sent: Sequence[str], allowed: Collection[str]) -> bool:
    """Say whether every `Host` header names this machine, or what the operator allows. No browser leaves it out."""
    return all(_is_own(value, allowed) for value in sent)


def comes_from_elsewhere(origins: Sequence[str], allowed: Collection[str]) -> bool:
    """Say whether an `Origin` header (RFC 6454) names a page of another host. Browsers send it with every POST."""
    return not all(_is_own(origin.partition("://")[2], allowed) for origin in origins)


def _is_own(value: str, allowed: Collection[str]) -> bool:
    match = _HOST.fullmatch(value.strip())
    if match is None:
        return False
    name = (match["bracketed"] or match["plain"]).lower().removesuffix(".")
    return is_loopback(name) or name.endswith(_LOCAL_NAME) or name in allowed
