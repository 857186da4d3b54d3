"""`ctclip keys`: the first key, and every other, for whoever runs the platform."""

from __future__ import annotations

import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from deploy.access.joined import Json, State, joined
from gateway.access.callers import COMMAND, OPERATOR_TENANT
from gateway.access.errors import ApiKeyNotFound
from gateway.access.keys import make_key
from gateway.access.repository import add_key, fetch_page, revoke_key
from gateway.access.schemas import TENANT_PATTERN, KeyBody, describe_key, describe_new_key
from gateway.access.scopes import Scope
from shared.audit import Deed, record

_MOST_LISTED = 10_000

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys, without needing one.")

Tenant = Annotated[str, typer.Option(help="Whose jobs the key reaches.")]
ScopeNames = Annotated[
    list[Scope], typer.Option("--scope", help="What it allows; may be given several times; default: everything.")
]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    *,
    scope: ScopeNames = list(Scope),  # noqa: B006  # typer reads it and never changes it
    tenant: Tenant = OPERATOR_TENANT,
    days: Annotated[int | None, typer.Option(min=1, help="After how many days it ends by itself.")] = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it: this once."""
    if not re.fullmatch(TENANT_PATTERN, tenant):
        raise typer.BadParameter("small letters, digits, dots, dashes; at most 63", param_hint="--tenant")
    key = make_key()
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    with joined(state) as session:
        row = add_key(
            session, key, tenant=tenant, name=name, scopes=set(scope), created_by=COMMAND, expires_at=expires_at
        )
        record(session, _describe_deed("ctclip keys create", row.tenant, row.id))
        made = describe_new_key(row, key)
    if as_json:
        typer.echo(made.model_dump_json())
        return
    typer.echo(made.key)
    typer.echo(f"Keep it: it is not shown again. {_describe(made)}", err=True)


@app.command(name="list")
def list_keys(
    tenant: Annotated[str | None, typer.Option(help="Only keys of this tenant.")] = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """List keys, newest first, with those that have ended."""
    with joined(state) as session:
        found = [describe_key(row) for row in fetch_page(session, tenant, before=None, limit=_MOST_LISTED)]
    if as_json:
        typer.echo(json.dumps({"items": [body.model_dump(mode="json") for body in found]}))
        return
    for body in found:
        typer.echo(f"{body.id}  {_describe(body)}")


@app.command()
def revoke(
    key_id: Annotated[uuid.UUID, typer.Argument(metavar="ID", help="Id of the key, not its prefix.")],
    state: State = None,
) -> None:
    """End a key: the next request with it is refused."""
    with joined(state) as session:
        try:
            row = revoke_key(session, None, key_id)
        except ApiKeyNotFound as error:
            typer.echo("There is no key of this id. `ctclip keys list` shows all.", err=True)
            raise typer.Exit(1) from error
        record(session, _describe_deed("ctclip keys revoke", row.tenant, row.id))
        described = _describe(describe_key(row))
    typer.echo(described)


def _describe_deed(action: str, tenant: str, key_id: uuid.UUID) -> Deed:
    return Deed(tenant, COMMAND, action, f"/v1/api-keys/{key_id}", status=0, trace_id="")


def _describe(body: KeyBody) -> str:
    end = "revoked" if body.revoked_at else f"until {body.expires_at:%Y-%m-%d %H:%M}" if body.expires_at else "no end"
    used = f"used {body.last_used_at:%Y-%m-%d %H:%M}" if body.last_used_at else "never used"
    return f"{body.prefix}  {body.tenant}  {','.join(body.scopes)}  {end}  {used}  {body.name}"
