"""`ctclip acceptance corpus`: write the inputs by which a site accepts a platform."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from phantom.corpus.chest import SCALES, Chest
from phantom.corpus.manifest import MANIFEST, write_corpus
from phantom.corpus.registry import LEFT_OUT, choose_cases


def corpus(
    output: Annotated[
        Path, typer.Option("--output", "-o", file_okay=False, metavar="DIR", help="Folder to write into.")
    ],
    *,
    only: Annotated[
        str | None, typer.Option(metavar="B7,G-plain,...", help="Only these rows or cases, separated by commas.")
    ] = None,
    scale: Annotated[
        str,
        typer.Option(
            help="`full`: for a platform with its default limits; about 8 GB. "
            "`small`: for one whose limits are lowered to those in the manifest."
        ),
    ] = "full",
    seed: Annotated[int, typer.Option(min=0, help="The patient; the same seed gives the same bytes.")] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest instead of text.")] = False,
) -> None:
    """Write bad inputs, each with the answer it must get, and good ones in every form. There is no patient in them."""
    if scale not in SCALES:
        raise typer.BadParameter(f"expected one of {', '.join(SCALES)}", param_hint="--scale")
    try:
        cases = choose_cases([name.strip() for name in only.split(",")] if only else [])
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--only") from error
    try:
        manifest = write_corpus(output, cases, Chest(seed, SCALES[scale]))
    except OSError as error:
        raise typer.BadParameter(f"{output} cannot be written ({error.strerror}).", param_hint="--output") from error
    typer.echo(json.dumps(manifest) if as_json else tell(output, len(manifest["cases"]), is_whole=only is None))


def tell(output: Path, count: int, *, is_whole: bool) -> str:
    """Return what was written and how to send it; of a whole corpus also what is not in it."""
    lines = [f"{output / MANIFEST}: {count} inputs. Send them: ctclip acceptance run {output} --api-url URL"]
    return "\n".join([*lines, *(f"Not in it: {what}: {why}" for what, why in LEFT_OUT.items() if is_whole)])
