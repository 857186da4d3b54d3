"""`ctclip webhook`: is a message that came to a receiver ours, and unchanged? By Standard Webhooks' own package."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer
from standardwebhooks import Webhook, WebhookVerificationError

from client.connecting import Json
from client.statuses import NO_RESULT

SECRET_PREFIX = "whsec_"  # noqa: S105  # what every secret begins with
HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Verify messages of webhooks.")


@app.callback()
def webhook() -> None:
    """Verify messages of webhooks."""


@app.command()
def verify(
    body: Annotated[
        typer.FileBinaryRead, typer.Argument(help="The body, byte for byte as it came; - reads it from standard input.")
    ],
    *,
    secret: Annotated[
        str, typer.Option(envvar="CTCLIP_WEBHOOK_SECRET", metavar="WHSEC", help="Secret of the webhook: whsec_...")
    ],
    header: Annotated[
        list[str], typer.Option("--header", "-H", metavar="'NAME: VALUE'", help=f"A header: {', '.join(HEADERS)}.")
    ],
    any_age: Annotated[
        bool, typer.Option("--any-age", help="Also a message that is older than five minutes, as a kept one is.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say whether a message was signed with the secret and not changed since. Exit status 0 when it was, else 1."""
    headers = _parse_headers(header)
    content = body.read()
    try:
        _verify(_make_webhook(secret), content, headers, any_age=any_age)
    except WebhookVerificationError as error:
        _tell({"is_valid": False, "reason": str(error)}, f"Not valid: {error}.", as_json)
        raise typer.Exit(NO_RESULT) from error
    message = json.loads(content)
    _tell({"is_valid": True, "message": message}, f"Valid: {message['type']} of {message['timestamp']}.", as_json)


def _verify(signer: Webhook, content: bytes, headers: Mapping[str, str], *, any_age: bool) -> None:
    """Raises WebhookVerificationError."""
    if not any_age:
        signer.verify(content, dict(headers))
        return
    try:
        sent_at = datetime.fromtimestamp(int(headers[HEADERS[1]]), tz=UTC)
        expected = signer.sign(headers[HEADERS[0]], sent_at, content.decode())
        signatures = headers[HEADERS[2]].split()
    except (KeyError, ValueError, OverflowError) as error:
        raise WebhookVerificationError("A header is missing or no header of a webhook") from error
    if not any(hmac.compare_digest(signature.encode(), expected.encode()) for signature in signatures):
        raise WebhookVerificationError("No matching signature found")


def _make_webhook(secret: str) -> Webhook:
    try:
        base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)  # the package takes anything
        return Webhook(secret)
    except (ValueError, RuntimeError) as error:
        raise typer.BadParameter("It is not of the form whsec_BASE64.", param_hint="--secret") from error


def _parse_headers(lines: Sequence[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise typer.BadParameter(f"{name!r} is not of the form NAME: VALUE.", param_hint="--header")
        headers[name.strip().lower()] = value.strip()
    return headers


def _tell(document: Mapping[str, object], text: str, as_json: bool) -> None:
    typer.echo(json.dumps(document) if as_json else text)
