"""Whether an address answers at all, before anybody speaks a protocol there."""

from __future__ import annotations

import socket
from dataclasses import dataclass

_PATIENCE_S = 5.0


@dataclass(frozen=True)
class Address:
    """A host and a port, without user and password."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def explain_silence(address: Address) -> str | None:
    """Return why nothing answers at an address; None where something does."""
    try:
        socket.create_connection((address.host, address.port), timeout=_PATIENCE_S).close()
    except socket.gaierror:
        return f"no machine is known by the name {address.host}"
    except TimeoutError:
        return f"{address} does not answer within {_PATIENCE_S:.0f} s"
    except OSError as error:
        return f"{address}: {error.strerror or type(error).__name__}"
    return None
