"""Which addresses only this machine can reach. Pure."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Say whether an address can be reached from this machine only. Names other than `localhost` are not trusted."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_tamper_proof(url: str) -> bool:
    """Say whether nobody on the way can change what a URL answers: HTTPS, or HTTP that does not leave this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
