"""Which servers a stack starts itself, and the settings by which everybody reaches them.

`start_servers` starts the servers alone: what tests and tools use that need them without the platform on top.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.embedded import broker, postgres, storage
from deploy.embedded.broker import BrokerServer
from deploy.embedded.credentials import Credentials, load_or_create_credentials
from deploy.embedded.executables import find_postgres_program
from deploy.embedded.identity import choose_identity, let_through
from deploy.embedded.ports import assign_ports
from deploy.embedded.postgres import PostgresServer
from deploy.embedded.problems import StackProblem
from deploy.embedded.processes import end_processes, find_orphans
from deploy.embedded.program import Program
from deploy.embedded.state_folder import StateFolder, read_json, write_json
from deploy.embedded.storage import StorageServer
from deploy.embedded.supervisor import Supervisor

SERVER_NAMES = (postgres.NAME, broker.NAME, storage.NAME)

_START_LIMIT_S = 60.0
_ORPHAN_GRACE_S = 5.0
_REPLACED_BY = {
    postgres.NAME: "CTCLIP_DATABASE_URL",
    broker.NAME: "CTCLIP_BROKER_URL",
    storage.NAME: "CTCLIP_STORAGE_ENDPOINT",
}
_STORAGE_KEYS = ("CTCLIP_STORAGE_ACCESS_KEY", "CTCLIP_STORAGE_SECRET_KEY")


@dataclass(frozen=True)
class Servers:
    """The embedded servers of one state; None where the environment names another."""

    postgres: PostgresServer | None
    broker: BrokerServer | None
    storage: StorageServer | None

    def programs(self) -> list[Program]:
        """Return what the supervisor runs."""
        # PostgreSQL is the slowest and goes first.
        return [server.program() for server in (self.postgres, self.broker, self.storage) if server]

    def create(self) -> None:
        """Make what the servers need on disk."""
        if self.postgres:
            self.postgres.create()
        if self.broker:
            self.broker.create()

    def settings(self) -> dict[str, str]:
        """Return the `CTCLIP_*` settings that lead to the embedded servers."""
        settings: dict[str, str] = {}
        if self.postgres:
            settings["CTCLIP_DATABASE_URL"] = self.postgres.url
        if self.broker:
            settings["CTCLIP_BROKER_URL"] = self.broker.url
        if self.storage:
            settings["CTCLIP_STORAGE_ENDPOINT"] = self.storage.endpoint
            settings["CTCLIP_STORAGE_ACCESS_KEY"] = self.storage.access_key
            settings["CTCLIP_STORAGE_SECRET_KEY"] = self.storage.secret_key
            settings["CTCLIP_STORAGE_SECURE"] = "false"
            settings["CTCLIP_STORAGE_WATCH_DIR"] = str(self.storage.folder)
        return settings


@dataclass(frozen=True)
class ServerSet:
    """Running servers: the settings that lead to them, and their process ids by name."""

    environment: Mapping[str, str]
    pids: Mapping[str, int]


def choose_embedded(environment: Mapping[str, str]) -> frozenset[str]:
    """Return the names of the servers that the environment does not replace.

    Raises StackProblem when it names a storage without its keys.
    """
    embedded = frozenset(name for name, setting in _REPLACED_BY.items() if not environment.get(setting))
    missing = [key for key in _STORAGE_KEYS if not environment.get(key)]
    if storage.NAME not in embedded and missing:
        raise StackProblem(f"CTCLIP_STORAGE_ENDPOINT is set, so {' and '.join(missing)} must be set too.")
    return embedded


def plan_servers(
    folder: StateFolder, embedded: frozenset[str], ports: Mapping[str, int], credentials: Credentials
) -> Servers:
    """Return the embedded servers of a state folder; nothing is started or written."""
    return Servers(
        postgres=_plan_postgres(folder, ports[postgres.NAME], credentials) if postgres.NAME in embedded else None,
        broker=(
            BrokerServer(folder.broker, ports[broker.NAME], credentials.broker_password)
            if broker.NAME in embedded
            else None
        ),
        storage=(
            StorageServer(
                folder.storage,
                ports[storage.NAME],
                credentials.storage_access_key,
                credentials.storage_secret_key,
            )
            if storage.NAME in embedded
            else None
        ),
    )


def remember_ports(folder: StateFolder, names: tuple[str, ...]) -> dict[str, int]:
    """Return a free port for each name, the one of the last start where it is free, and keep them."""
    kept = {name: port for name, port in (read_json(folder.ports_file) or {}).items() if isinstance(port, int)}
    ports = assign_ports(names, kept)
    write_json(folder.ports_file, {**kept, **ports})
    return ports


@contextmanager
def start_servers(state: Path) -> Iterator[ServerSet]:
    """Run PostgreSQL, broker and storage in a state folder while the block runs; they are not started again.

    Call from the main thread. Raises StackProblem when they do not start.
    """
    folder = StateFolder.prepare(state)
    with folder.lock():
        end_processes(find_orphans(folder.root), _ORPHAN_GRACE_S)
        ports = remember_ports(folder, SERVER_NAMES)
        credentials = load_or_create_credentials(folder)
        servers = plan_servers(folder, frozenset(SERVER_NAMES), ports, credentials)
        supervisor = Supervisor(folder)
        try:
            bring_up(servers, supervisor)
            pids = {name: child.identity.pid for name, child in supervisor.children.items() if child.identity}
            yield ServerSet({**servers.settings(), **credentials.choose_keys({})}, pids)
        finally:
            supervisor.stop()


def bring_up(servers: Servers, supervisor: Supervisor) -> None:
    """Make, start and await the servers, and the platform's database in them."""
    servers.create()
    supervisor.start(servers.programs())
    supervisor.wait_ready(_START_LIMIT_S)
    if servers.postgres:
        servers.postgres.ensure_database()


def _plan_postgres(folder: StateFolder, port: int, credentials: Credentials) -> PostgresServer:
    identity = choose_identity()
    let_through(folder.root, identity, find_postgres_program(postgres.NAME))
    return PostgresServer(folder.postgres, port, credentials, identity)
