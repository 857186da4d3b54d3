"""Settings from the environment and from the files that containers get secrets in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PRINT = (
    "from shared.settings import get_settings; s = get_settings(); "
    "print(s.database_url.get_secret_value(), s.storage_endpoint)"
)


def read(**environment: str) -> subprocess.CompletedProcess[str]:
    """Read the settings in a process of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CTCLIP_")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", PRINT],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**inherited, **environment},
    )


def keep(folder: Path, **secrets: str) -> None:
    for name, value in secrets.items():
        (folder / f"ctclip_{name}").write_text(f"{value}\n")


class TestSecretsInFiles:
    def test_are_read_where_the_environment_names_their_folder(self, tmp_path: Path) -> None:
        keep(tmp_path, database_url="postgresql+psycopg2://a:b@c/d", storage_access_key="e", storage_secret_key="f")
        done = read(CTCLIP_SECRETS_DIR=str(tmp_path), CTCLIP_STORAGE_ENDPOINT="storage:1")
        assert (done.returncode, done.stdout) == (0, "postgresql+psycopg2://a:b@c/d storage:1\n"), done.stderr

    def test_give_way_to_the_environment(self, tmp_path: Path) -> None:
        keep(tmp_path, database_url="file", storage_access_key="e", storage_secret_key="f", storage_endpoint="file")
        done = read(CTCLIP_SECRETS_DIR=str(tmp_path), CTCLIP_DATABASE_URL="variable")
        assert (done.returncode, done.stdout) == (0, "variable file\n"), done.stderr

    def test_are_read_through_the_links_that_kubernetes_makes(self, tmp_path: Path) -> None:
        version = tmp_path / "..2026"
        version.mkdir()
        keep(version, database_url="linked", storage_access_key="e", storage_secret_key="f", storage_endpoint="g")
        (tmp_path / "..data").symlink_to("..2026")
        for secret in version.iterdir():
            (tmp_path / secret.name).symlink_to(f"..data/{secret.name}")
        assert read(CTCLIP_SECRETS_DIR=str(tmp_path)).stdout == "linked g\n"

    def test_are_not_looked_for_unless_a_folder_is_named(self) -> None:
        assert "database_url" in read().stderr
