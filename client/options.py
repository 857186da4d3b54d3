"""Options of a submission on the command line, and how they are sent."""

from __future__ import annotations

from typing import Annotated

import typer

Models = Annotated[str | None, typer.Option("--models", help="Only these models, separated by commas.")]
SeriesUid = Annotated[str | None, typer.Option("--series-instance-uid", help="Read this series of the study.")]
Policy = Annotated[str | None, typer.Option("--policy", help="Decide under this policy of the installation.")]
ValidateOnly = Annotated[
    bool, typer.Option("--validate-only", help="Only say whether the study would be accepted; no model runs.")
]
Split = Annotated[bool, typer.Option("--split", help="Make one job for each study of the ZIP.")]
Priority = Annotated[int | None, typer.Option("--priority", min=0, max=9, help="9 is read first, 5 is usual.")]
Labels = Annotated[
    str | None, typer.Option("--labels", metavar="NAME=VALUE,...", help="Labels to find the job by; never a patient.")
]
CallbackUrl = Annotated[
    str | None, typer.Option("--callback-url", metavar="URL", help="Tell this address when it has ended.")
]
Reuse = Annotated[
    bool, typer.Option("--reuse/--no-reuse", help="Whether an earlier job with the same pixels may answer.")
]
IdempotencyKey = Annotated[
    str | None, typer.Option("--idempotency-key", help="Repeat with the same key: the same job.")
]


def gather(**options: str | int | bool | None) -> dict[str, str]:
    """Return what is sent of options: nothing of those that were not given."""
    given = {name: value for name, value in options.items() if value is not None}
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in given.items()}
