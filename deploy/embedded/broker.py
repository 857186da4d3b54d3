"""Valkey, the Redis-protocol broker of one state folder: password, append-only file, loopback."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from deploy.embedded.executables import find_valkey_server
from deploy.embedded.ports import LOOPBACK
from deploy.embedded.program import Program, StopTurn

NAME = "broker"

_ANSWER_LIMIT_S = 1.0


@dataclass(frozen=True, repr=False)
class BrokerServer:
    """The broker that keeps its messages in `folder`."""

    folder: Path
    port: int
    password: str

    @property
    def url(self) -> str:
        """Celery's address of the broker."""
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"

    def create(self) -> None:
        """Write the configuration; it holds the password, which a command line would show to everybody."""
        path = self._configuration_file
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(self.configuration())

    def configuration(self) -> str:
        """Return the configuration file. No memory limit: a message that is thrown away would be lost work."""
        return "\n".join(
            (
                f"bind {LOOPBACK}",
                f"port {self.port}",
                f"requirepass {self.password}",
                f'dir "{_quoted(self.folder)}"',
                "appendonly yes",
                "appendfsync everysec",
                'save ""',
                "maxmemory 0",
                "tcp-backlog 128",
                "daemonize no",
                'logfile ""',
                "",
            )
        )

    def program(self) -> Program:
        """Return the server as the supervisor runs it."""
        return Program(
            name=NAME,
            command=(str(find_valkey_server()), str(self._configuration_file)),
            environment={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C"},
            is_ready=self.is_ready,
            stop_turn=StopTurn.SERVERS,
        )

    def is_ready(self) -> bool:
        """Say whether the server takes our password and has read its file."""
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=_ANSWER_LIMIT_S) as stream:
                stream.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                return _read_two_lines(stream) == [b"+OK", b"+PONG"]
        except OSError:
            return False

    @property
    def _configuration_file(self) -> Path:
        return self.folder / "valkey.conf"


def _read_two_lines(stream: socket.socket) -> list[bytes]:
    received = b""
    while received.count(b"\r\n") < 2:
        part = stream.recv(256)
        if not part:
            break
        received += part
    return received.split(b"\r\n")[:2]


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')
