"""`ctclip verify`: hold a result against its signed receipt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from client.receipts.verifying import Unreadable, Verdict, parse_document, read_public_key
from client.receipts.verifying import verify as verify_receipt

_UNREADABLE = 2


def verify(
    result: Annotated[Path, typer.Argument(help="The result, as `/v1/jobs/ID/result` answered.", exists=True)],
    receipt: Annotated[Path, typer.Argument(help="The receipt, as `/v1/jobs/ID/receipt` answered.", exists=True)],
    public_key: Annotated[
        Path, typer.Option("--public-key", help="PEM, or what `/v1/receipt-key` answered.", exists=True)
    ],
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="Check this run manifest too.", exists=True)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check that a result is what was published, without the platform; exit status 1 when it is not."""
    try:
        verdict = verify_receipt(
            parse_document(result.read_bytes(), "the result"),
            parse_document(receipt.read_bytes(), "the receipt"),
            read_public_key(public_key.read_bytes()),
            manifest=None if manifest is None else manifest.read_bytes(),
        )
    except Unreadable as error:
        typer.echo(f"Cannot verify: {error}.", err=True)
        raise typer.Exit(_UNREADABLE) from error
    typer.echo(json.dumps({"valid": verdict.is_valid, "checks": verdict.checks}) if as_json else render(verdict))
    raise typer.Exit(0 if verdict.is_valid else 1)


def render(verdict: Verdict) -> str:
    """Return the verdict for people."""
    lines = [f"{'yes' if holds else 'NO '}  {check}" for check, holds in verdict.checks.items()]
    return "\n".join([*lines, "", "The receipt holds." if verdict.is_valid else "The receipt does not hold."])
