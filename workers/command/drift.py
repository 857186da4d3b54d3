"""`ctclip drift`: whether the features of recent studies are distributed as those that the fusion was trained on."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta

import typer

from shared.database import make_engine
from shared.errors import Defect, TransientFault
from shared.self_check import SELF_CHECK_TENANT
from shared.settings import get_settings
from workers.drift.measuring import FEWEST_STUDIES, FeatureDrift
from workers.drift.recent import measure_recent

_CANNOT = 2
_SHOWN = 20


def command(*, days: int, as_json: bool) -> None:
    """Print the figures; exit status 1 where a feature is shifted, 2 where there is nothing to compare with."""
    settings = get_settings()
    try:
        drifts = measure_recent(make_engine(settings), settings, timedelta(days=days), left_out=[SELF_CHECK_TENANT])
    except (Defect, TransientFault) as error:
        typer.echo(f"Cannot compare: {error}.", err=True)
        raise typer.Exit(_CANNOT) from error
    if drifts is None:
        typer.echo("No fusion with a reference is installed; train one (docs/training.md).", err=True)
        raise typer.Exit(_CANNOT)
    typer.echo(json.dumps(describe(drifts, days)) if as_json else render(drifts, days))
    raise typer.Exit(1 if any(each.is_shifted for each in drifts) else 0)


def describe(drifts: list[FeatureDrift], days: int) -> dict[str, object]:
    """Return all figures as JSON."""
    told = [{**asdict(each), "model": str(each.model), "is_shifted": each.is_shifted} for each in drifts]
    return {"days": days, "fewest_studies": FEWEST_STUDIES, "features": told}


def render(drifts: list[FeatureDrift], days: int) -> str:
    """Return the largest figures for people."""
    if not drifts:
        return f"Fewer than {FEWEST_STUDIES} studies in {days} days: nothing can be told."
    shifted = sum(each.is_shifted for each in drifts)
    rows = [
        f"{each.psi:8.3f}  {each.by_chance:9.3f}  {each.studies:7}  {each.part:<24}  {each.feature}"
        for each in drifts[:_SHOWN]
    ]
    return "\n".join([f"{shifted} of {len(drifts)} figures are shifted.", "     PSI  by chance  studies  part", *rows])
