"""Addresses that we may be asked to call. Pure: what is written is judged here, and so is what a name resolves to.

A caller who names an address chooses where this machine connects to. So nothing internal is called unless the operator
has allowed its network (`CTCLIP_WEBHOOK_ALLOWED_NETWORKS`), whatever way the address is written.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias
from urllib.parse import urlsplit

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

LONGEST_URL = 2048

_PORTS = {"https": 443, "http": 80}
_FIRST_UNPRIVILEGED_PORT = 1024
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_LONGEST_HOST = 253
# Whatever the operator allows: credentials of the machine itself are handed out here.
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        ("169.254.169.254", "100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254"),
    )
)
# Of IANA's registries of special-purpose addresses, what the standard library takes for public, and site-local ones.
_SPECIAL = tuple(
    map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "3fff::/20", "5f00::/16", "fec0::/10"))
)
# IPv4 in IPv6 clothes (RFC 4291 2.5.5, RFC 6052, RFC 3056, RFC 4380): where they lead is not what they look like.
_DISGUISES = tuple(
    map(ipaddress.ip_network, ("::ffff:0:0/96", "::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"))
)
_LOOPBACK = ipaddress.IPv6Address("::1")


class UrlRefusal(StrEnum):
    """Why an address is not called."""

    MALFORMED = "malformed"
    SCHEME = "scheme"
    CREDENTIALS = "credentials"
    HOST = "host"
    INTERNATIONALISED_NAME = "internationalised_name"
    PORT = "port"
    INTERNAL_ADDRESS = "internal_address"
    HTTPS_REQUIRED = "https_required"


class RefusedUrl(ValueError):
    """The address is not called; `refusal` says why. The address is never repeated."""

    def __init__(self, refusal: UrlRefusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


@dataclass(frozen=True)
class CallbackUrl:
    """An address that is well-formed. `target` is path and query; a fragment is never sent."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """What the `Host` header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def literal_address(self) -> IpAddress | None:
        """The address, where no name stands in its place."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None


def parse_callback_url(text: str, allowed: Collection[IpNetwork]) -> CallbackUrl:
    """Return a well-formed address; one that is written as numbers is vetted at once. Raises RefusedUrl."""
    url = _split(text)
    if url.literal_address is not None:
        vet_addresses(url, [url.literal_address], allowed)
    return url


def vet_addresses(url: CallbackUrl, addresses: Sequence[IpAddress], allowed: Collection[IpNetwork]) -> None:
    """Refuse an address one of whose numbers may not be called. Raises RefusedUrl.

    Plain HTTP is for networks that the operator has allowed.
    """
    if not all(_is_public(address) or _is_allowed(address, allowed) for address in addresses):
        raise RefusedUrl(UrlRefusal.INTERNAL_ADDRESS)
    if url.scheme == "http" and not all(_is_allowed(address, allowed) for address in addresses):
        raise RefusedUrl(UrlRefusal.HTTPS_REQUIRED)


def _split(text: str) -> CallbackUrl:
    if not 0 < len(text) <= LONGEST_URL or any(not "!" <= letter <= "~" or letter == "\\" for letter in text):
        raise RefusedUrl(_judge_letters(text))
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise RefusedUrl(UrlRefusal.MALFORMED) from error
    if parts.scheme not in _PORTS:
        raise RefusedUrl(UrlRefusal.SCHEME)
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise RefusedUrl(UrlRefusal.CREDENTIALS)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return CallbackUrl(parts.scheme, _check_host(parts.hostname), _check_port(parts.scheme, port), target)


def _judge_letters(text: str) -> UrlRefusal:
    host = text.partition("://")[2].partition("/")[0]
    return UrlRefusal.MALFORMED if host.isascii() else UrlRefusal.INTERNATIONALISED_NAME


def _check_host(host: str | None) -> str:
    if not host:
        raise RefusedUrl(UrlRefusal.HOST)
    if ":" in host:
        return _check_ipv6(host)
    labels = host.removesuffix(".").split(".")
    if any(label.startswith("xn--") for label in labels):
        raise RefusedUrl(UrlRefusal.INTERNATIONALISED_NAME)
    if len(host) > _LONGEST_HOST or not all(_LABEL.fullmatch(label) for label in labels):
        raise RefusedUrl(UrlRefusal.HOST)
    if labels[-1][0].isdigit() and not _is_ipv4(host):
        # `127.1`, `0x7f000001`: resolvers read numbers in more ways than people do.
        raise RefusedUrl(UrlRefusal.HOST)
    return host


def _check_ipv6(host: str) -> str:
    if "%" in host:
        raise RefusedUrl(UrlRefusal.HOST)
    try:
        return str(ipaddress.IPv6Address(host))
    except ValueError as error:
        raise RefusedUrl(UrlRefusal.HOST) from error


def _is_ipv4(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def _check_port(scheme: str, port: int | None) -> int:
    """Web servers only: a mail server would take the lines of our request for commands."""
    chosen = _PORTS[scheme] if port is None else port
    if chosen < _FIRST_UNPRIVILEGED_PORT and chosen not in _PORTS.values():
        raise RefusedUrl(UrlRefusal.PORT)
    return chosen


def _is_allowed(address: IpAddress, allowed: Collection[IpNetwork]) -> bool:
    return address not in _METADATA and not _is_disguised(address) and any(address in network for network in allowed)


def _is_public(address: IpAddress) -> bool:
    is_special = address in _METADATA or any(address in network for network in _SPECIAL)
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not is_special
        and not _is_disguised(address)
    )


def _is_disguised(address: IpAddress) -> bool:
    return address != _LOOPBACK and any(address in network for network in _DISGUISES)
