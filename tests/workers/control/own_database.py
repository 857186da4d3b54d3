"""A database of its own for tests of loops that look at every job: other tests of the process own theirs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import SecretStr
from sqlalchemy import Engine, create_engine, make_url, text

from migrations import upgrade
from shared.database import make_engine
from shared.settings import Settings


@contextmanager
def own_database(settings: Settings, revision: str = "head") -> Iterator[tuple[Settings, Engine]]:
    url = make_url(settings.database_url.get_secret_value())
    name = f"own_{uuid.uuid4().hex}"
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    own = settings.model_copy(
        update={"database_url": SecretStr(url.set(database=name).render_as_string(hide_password=False))}
    )
    upgrade(own.database_url.get_secret_value(), revision)
    engine = make_engine(own, pool_size=10)
    yield own, engine
    engine.dispose()
