"""Alembic migrations; `python -m migrations` brings a database to the newest schema."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config

__all__ = ["make_config", "upgrade"]


def make_config(database_url: str) -> Config:
    """Return Alembic's configuration for one database."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["database_url"] = database_url
    return config


def upgrade(database_url: str, revision: str = "head") -> None:
    """Bring the schema to `revision`. Safe to run from several processes at once."""
    command.upgrade(make_config(database_url), revision)
