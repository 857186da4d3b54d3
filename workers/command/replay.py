"""`ctclip replay`: run a job again from its manifest and compare every feature."""

from __future__ import annotations

import json
import math
import uuid
from dataclasses import asdict

import typer
from rich.console import Console
from rich.table import Table

from shared.database import make_engine
from shared.errors import TransientFault
from shared.settings import get_settings
from shared.storage import ObjectStore
from workers.replay.comparing import Comparison, FeatureComparison
from workers.replay.running import CannotReplay, Replayed, run_replay

DEFAULT_TOLERANCE = 1e-4
_CANNOT = 2


def command(job_id: uuid.UUID, *, tolerance: float, limit_s: float, shows_all: bool, as_json: bool) -> None:
    """Run a job again and print the comparison; exit status 1 beyond the tolerance, 2 where there is none."""
    settings = get_settings()
    try:
        replayed = run_replay(make_engine(settings), ObjectStore(settings), settings, job_id, limit_s)
    except (CannotReplay, TransientFault) as error:
        typer.echo(f"Cannot replay: {error}.", err=True)
        raise typer.Exit(_CANNOT) from error
    if as_json:
        typer.echo(json.dumps(describe(replayed, tolerance)))
    else:
        _print(replayed, tolerance, shows_all=shows_all)
    raise typer.Exit(0 if replayed.comparison.agrees(tolerance) else 1)


def describe(replayed: Replayed, tolerance: float) -> dict[str, object]:
    """Return the comparison as JSON; a difference is null where only one run has the number."""
    comparison = replayed.comparison
    return {
        "replay_job_id": str(replayed.replay.job_id),
        "begins_at": str(replayed.replay.begins_at),
        "tolerance": tolerance,
        "agrees": comparison.agrees(tolerance),
        "changes": list(comparison.changes),
        "features": [_describe(feature) for stage in comparison.stages for feature in stage.features],
    }


def _describe(feature: FeatureComparison) -> dict[str, object]:
    difference = feature.difference
    return {**asdict(feature), "difference": difference if math.isfinite(difference) else None}


def _print(replayed: Replayed, tolerance: float, *, shows_all: bool) -> None:
    console, comparison = Console(), replayed.comparison
    console.print(_tabulate_stages(comparison, tolerance))
    shown = [
        feature
        for stage in comparison.stages
        for feature in stage.features
        if shows_all or feature.difference > tolerance
    ]
    if shown:
        console.print(_tabulate_features(shown))
    for change in comparison.changes:
        console.print(f"changed  {change}", soft_wrap=True, highlight=False)
    verdict = "agrees" if comparison.agrees(tolerance) else "differs"
    told = f"The replay {verdict} (tolerance {tolerance:g}). It is job {replayed.replay.job_id}."
    console.print(told, soft_wrap=True, highlight=False)


def _tabulate_stages(comparison: Comparison, tolerance: float) -> Table:
    table = Table("stage", "numbers", "beyond", "largest difference", "of")
    for stage in comparison.stages:
        largest, beyond = stage.largest, stage.count_beyond(tolerance)
        table.add_row(stage.stage, str(len(stage.features)), str(beyond), f"{largest.difference:.3g}", largest.name)
    return table


def _tabulate_features(features: list[FeatureComparison]) -> Table:
    table = Table("stage", "number", "recorded", "replayed", "difference")
    for each in features:
        table.add_row(each.stage, each.name, _show(each.recorded), _show(each.replayed), f"{each.difference:.3g}")
    return table


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.6f}"
