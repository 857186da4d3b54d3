"""Which addresses only this machine can reach. Pure."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Say whether an address can be reached from this machine only. Names other than `localhost` are not trusted."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
