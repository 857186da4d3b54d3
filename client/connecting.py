"""What every command that speaks to an API takes and does: address, key, and what an error means for the shell."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import httpx
import typer

from client.api import Client
from client.errors import ApiError, ClientError, Unreachable, WaitExpired
from client.exchange import DEFAULT_URL, make_headers
from client.local_stack import choose_key, choose_url
from client.statuses import NO_RESULT, NOT_ALLOWED, TRY_AGAIN
from client.words import ADVICE

Url = Annotated[
    str | None,
    typer.Option(
        envvar="CTCLIP_API_URL",
        metavar="URL",
        help="Address of the API; default: the platform that runs on this machine, else http://localhost:8000.",
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(envvar="CTCLIP_API_KEY", metavar="KEY", help="API key, where the platform asks for one."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

_EXAMPLE = f"An address is like {DEFAULT_URL}."

OF_THE_KEY = frozenset({401, 403})
"""Statuses of a refusal that another key may not meet."""


@contextmanager
def connected(url: str | None, api_key: str | None, as_json: bool) -> Iterator[Client]:
    """Yield a client; what goes wrong with it is explained, and ends the command."""
    address, key = choose_access(url, api_key)
    with Client(address, api_key=key) as api:
        try:
            yield api
        except ClientError as error:
            if as_json and isinstance(error, ApiError):
                print_json(error.problem.document)
            typer.echo(str(error), err=True)
            if isinstance(error, ApiError) and (advice := _find_advice(api, error)):
                typer.echo(advice, err=True)
            raise typer.Exit(exit_status_of(error)) from error


def choose_access(url: str | None, api_key: str | None) -> tuple[str, str | None]:
    """Return the address to speak to and the key. Raises BadParameter for what cannot be one."""
    address, key = choose_address(url), choose_key(api_key, url)
    try:
        make_headers(key)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--api-key") from error
    return address, key


def choose_address(url: str | None) -> str:
    """Return the address to speak to. Raises BadParameter for what cannot be one."""
    address = choose_url(url)
    try:
        parts = httpx.URL(address)
    except httpx.InvalidURL as error:
        raise typer.BadParameter(f"{error}. {_EXAMPLE}", param_hint="--api-url") from error
    if parts.scheme not in ("http", "https") or not parts.host:
        raise typer.BadParameter(f"{address!r} is no http:// or https:// address. {_EXAMPLE}", param_hint="--api-url")
    return address


def exit_status_of(error: ClientError) -> int:
    """Return what a command ends with after an error."""
    if isinstance(error, Unreachable | WaitExpired):
        return TRY_AGAIN
    return NOT_ALLOWED if isinstance(error, ApiError) and error.status in OF_THE_KEY else NO_RESULT


def print_json(document: Mapping[str, Any]) -> None:
    """Print a document in one line."""
    typer.echo(json.dumps(document, ensure_ascii=False))


def _find_advice(api: Client, error: ApiError) -> str | None:
    """Return what to do about a refusal: in the words of this command where it knows some, else of the API."""
    if error.problem.code in ADVICE:
        return ADVICE[error.problem.code]
    try:
        return error.problem.document.get("advice") or api.fetch_advice(error.problem.code)
    except ClientError:
        return None
