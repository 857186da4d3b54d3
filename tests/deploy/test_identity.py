"""PostgreSQL refuses to be root: both ways round it, and what is said when neither leads anywhere."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.embedded.credentials import generate_credentials
from deploy.embedded.executables import find_postgres_program
from deploy.embedded.identity import PostgresIdentity, account_identity, choose_identity, let_through
from deploy.embedded.ports import assign_ports
from deploy.embedded.postgres import PostgresServer
from deploy.embedded.problems import StackProblem
from deploy.embedded.state_folder import StateFolder
from deploy.embedded.supervisor import Supervisor

IS_ROOT = os.geteuid() == 0
START_LIMIT_S = 30.0


@pytest.fixture
def open_folder() -> Iterator[StateFolder]:
    """A state folder that other accounts can reach; those of pytest are closed."""
    root = Path(tempfile.mkdtemp(prefix="ctclip-identity-"))
    yield StateFolder.prepare(root)
    shutil.rmtree(root)


def run_postgres(folder: StateFolder, identity: PostgresIdentity) -> None:
    port = assign_ports(["postgres"], {})["postgres"]
    server = PostgresServer(folder.postgres, port, generate_credentials(), identity)
    supervisor = Supervisor(folder)
    try:
        server.create()
        supervisor.start([server.program()])
        supervisor.wait_ready(START_LIMIT_S)
        server.ensure_database()
        server.ensure_database()
    finally:
        supervisor.stop()


class TestIdentity:
    def test_of_whoever_runs_this_leads_to_a_server(self, open_folder: StateFolder) -> None:
        run_postgres(open_folder, choose_identity())

    @pytest.mark.skipif(not IS_ROOT, reason="only root changes accounts")
    def test_of_an_account_does_where_user_namespaces_are_forbidden(self, open_folder: StateFolder) -> None:
        identity = account_identity()
        let_through(open_folder.root, identity, find_postgres_program("postgres"))
        run_postgres(open_folder, identity)
        assert open_folder.postgres.stat().st_uid == identity.owner_uid

    @pytest.mark.skipif(not IS_ROOT, reason="only root changes accounts")
    def test_of_an_account_is_refused_behind_a_closed_folder(self, tmp_path: Path) -> None:
        (tmp_path / "closed").mkdir(mode=0o700)
        folder = StateFolder.prepare(tmp_path / "closed" / "state")
        with pytest.raises(StackProblem, match="--state"):
            let_through(folder.root, account_identity(), find_postgres_program("postgres"))
