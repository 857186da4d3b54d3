"""The database of a platform, for one command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from sqlalchemy.orm import Session

from deploy.embedded.joining import join_stack
from shared.database import make_engine, transaction
from shared.errors import TransientFault
from shared.settings import get_settings

State = Annotated[
    Path | None, typer.Option("--state", metavar="DIR", help="State folder of a platform of this machine.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@contextmanager
def joined(state: Path | None) -> Iterator[Session]:
    """Open a transaction on the database of the CTCLIP_* settings, or of the platform that `ctclip up` runs here."""
    join_stack(state)
    try:
        engine = make_engine(get_settings(), pool_size=1, application_name="ctclip-command")
        try:
            with transaction(engine) as session:
                yield session
        finally:
            engine.dispose()
    except ValidationError as error:
        typer.echo("The CTCLIP_* settings cannot be used.", err=True)
        raise typer.Exit(2) from error
    except TransientFault as fault:
        typer.echo(f"The database cannot be used: {fault}. Is the platform running?", err=True)
        raise typer.Exit(2) from fault
