"""Free ports on loopback, kept from one start to the next while they stay free."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

LOOPBACK = "127.0.0.1"

_LOWEST_PORT = 15_000
_USUAL_FIRST_EPHEMERAL_PORT = 32_768
_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_TRIES = 2_000


def assign_ports(names: Iterable[str], remembered: Mapping[str, int]) -> dict[str, int]:
    """Return a free port for each name, the remembered one where it is still free."""
    ports: dict[str, int] = {}
    for name in names:
        port = remembered.get(name)
        taken = set(ports.values())
        ports[name] = port if port and port not in taken and is_free(port) else _find_free(taken)
    return ports


def is_free(port: int) -> bool:
    """Say whether a server could listen on this port of loopback now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections in TIME_WAIT from the last run do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def _find_free(taken: set[int]) -> int:
    # Below the ephemeral range: a client that retries a dead server's port inside it can connect to itself
    # (TCP simultaneous open) and keep the restarted server from listening.
    last = _first_ephemeral_port()
    for _ in range(_TRIES):
        port = _LOWEST_PORT + secrets.randbelow(last - _LOWEST_PORT)
        if port not in taken and is_free(port):
            return port
    raise OSError(f"no free port between {_LOWEST_PORT} and {last} on {LOOPBACK}")


def _first_ephemeral_port() -> int:
    try:
        first = int(_RANGE_FILE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        first = _USUAL_FIRST_EPHEMERAL_PORT
    return first if first > _LOWEST_PORT + _TRIES else _USUAL_FIRST_EPHEMERAL_PORT
