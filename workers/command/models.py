"""`ctclip models`: what is installed, whether it is intact, whether our code answers as the references do."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from safetensors import SafetensorError

from model_weights.catalogue import ModelEntry, list_installed
from model_weights.publishing import make_catalogue_path
from model_weights.verifying import verify
from shared.errors import Defect
from shared.settings import Settings, WeightsProfile
from workers.conversion import CONVERSION_MODULES, convert_checkpoint
from workers.parity import PARITY_MODULES, ParityCheck, check_parity

app = typer.Typer(no_args_is_help=True, help="List, verify, convert and compare models.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Profile = Annotated[
    WeightsProfile, typer.Option("--profile", envvar="CTCLIP_WEIGHTS_PROFILE", help="Which weights: demo, full, none.")
]
Folder = Annotated[
    Path | None, typer.Option("--weights-dir", envvar="CTCLIP_WEIGHTS_DIR", help="Folder of imported weights.")
]
DEFAULT_PROFILE: WeightsProfile = Settings.model_fields["weights_profile"].default
_NAME_WIDTH = 34


@dataclass(frozen=True)
class WeightsPlace:
    """Where the commands look for weights, from options or from the settings' variables."""

    weights_profile: WeightsProfile
    weights_dir: Path | None


@app.command(name="list")
def list_models(profile: Profile = DEFAULT_PROFILE, weights_dir: Folder = None, as_json: AsJson = False) -> None:
    """List the installed models."""
    with told_defects():
        entries = list_installed(WeightsPlace(profile, weights_dir))
    if as_json:
        typer.echo(json.dumps({"models": [describe(entry) for entry in entries]}))
        return
    for entry in entries:
        size_mb = sum(file.size_bytes for file in entry.files.values()) / 1e6
        typer.echo(f"{entry.stage:<12} {entry.name:<20} {entry.version:<10} {size_mb:8.1f} MB  {entry.digest[:12]}")
    if not entries:
        typer.echo(f"No models are installed for the profile {profile}; `ctclip models convert` imports one.")


@app.command(name="verify")
def verify_models(profile: Profile = DEFAULT_PROFILE, weights_dir: Folder = None, as_json: AsJson = False) -> None:
    """Read every weight file and compare it with the digest that the catalogue pins. Exit 1 when one differs."""
    with told_defects():
        entries = list_installed(WeightsPlace(profile, weights_dir))
    faults = {f"{entry.name}/{role}": fault for entry in entries for role, fault in _find_faults(entry)}
    checked = [f"{entry.name}/{role}" for entry in entries for role in entry.files]
    if as_json:
        typer.echo(json.dumps({"checked": checked, "faults": faults}))
    else:
        for name in checked:
            typer.echo(f"{name:<{_NAME_WIDTH}} {faults.get(name, 'as pinned')}")
    raise typer.Exit(1 if faults else 0)


@app.command()
def convert(
    model: Annotated[str, typer.Argument(help=f"Which model the checkpoint is of: {', '.join(CONVERSION_MODULES)}.")],
    checkpoint: Annotated[
        Path, typer.Argument(exists=True, help="Checkpoint as published (.pt); of the segmentation also its folder.")
    ],
    config: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="JSON with name, labels, licence...")],
    weights_dir: Annotated[Path, typer.Option(envvar="CTCLIP_WEIGHTS_DIR", help="Folder of imported weights.")],
    as_json: AsJson = False,
) -> None:
    """Turn a published checkpoint into safetensors and an entry of the catalogue (profile `full`)."""
    if model not in CONVERSION_MODULES:
        known = ", ".join(CONVERSION_MODULES)
        raise typer.BadParameter(f"{model!r} cannot be converted; known are {known}", param_hint="MODEL")
    with told_defects(), _told_disk():
        weights_dir.mkdir(parents=True, exist_ok=True)
        entry = convert_checkpoint(model, checkpoint, config, make_catalogue_path(weights_dir))
    typer.echo(json.dumps(describe(entry)) if as_json else f"{entry.name} {entry.version}: {entry.digest}")


@app.command()
def parity(
    name: Annotated[str, typer.Argument(help=f"Which model: {', '.join(PARITY_MODULES)}.")],
    golden: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of reference vectors.")],
    as_json: AsJson = False,
) -> None:
    """Run the real code on reference vectors; print the largest error of each stage. Exit 1 above tolerance."""
    if name not in PARITY_MODULES:
        raise typer.BadParameter(f"{name!r} is unknown; known are {', '.join(PARITY_MODULES)}", param_hint="NAME")
    with told_defects():
        checks = _check(name, golden)
    passed = bool(checks) and all(check.passes for check in checks)
    if as_json:
        typer.echo(json.dumps({"name": name, "passed": passed, "checks": [_describe_check(each) for each in checks]}))
    else:
        typer.echo("\n".join(render_checks(checks)))
    raise typer.Exit(0 if passed else 1)


@app.command()
def precision(
    name: Annotated[str, typer.Argument(help="Which installed model: ct_clip, supervised, mednext, diffusion.")],
    study: Annotated[
        list[Path] | None, typer.Argument(exists=True, help="Studies (ZIP, folder, NIfTI); without any: phantoms.")
    ] = None,
    *,
    phantoms: Annotated[int, typer.Option(min=1, help="How many phantoms, where no studies are named.")] = 8,
    compiles: Annotated[bool, typer.Option("--compile", help="Time the compiled network as well.")] = False,
    profile: Profile = DEFAULT_PROFILE,
    weights_dir: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Measure what bf16 changes on this machine and record it beside the weights. Exit 1 where it is not allowed.

    Workers on such machines run the model in bf16 from their next start, if every probability stays within 0.01 and it
    is faster (CTCLIP_PRECISION=auto).
    """
    with told_defects():
        entry = _find(WeightsPlace(profile, weights_dir), name)
        # Torch comes in here: listing and verifying do without.
        measuring = import_module("workers.command.precision")
        found = measuring.measure(entry, study or (), phantoms=phantoms, compiles=compiles, as_json=as_json)
    raise typer.Exit(0 if found.is_allowed else 1)


def _find(place: WeightsPlace, name: str) -> ModelEntry:
    entry = next((entry for entry in list_installed(place) if entry.stage == name), None)
    if entry is None:
        raise Defect(f"no model for the stage {name!r} is installed for the profile {place.weights_profile}")
    return entry


def describe(entry: ModelEntry) -> dict[str, Any]:
    """Return an entry as JSON values."""
    return {
        "name": entry.name,
        "stage": str(entry.stage),
        "version": entry.version,
        "weights_profile": str(entry.weights_profile),
        "digest": entry.digest,
        "labels": list(entry.labels),
        "thresholds": dict(entry.thresholds),
        "origin": entry.origin,
        "licence": entry.licence,
        "files": {
            role: {"sha256": file.sha256, "size_bytes": file.size_bytes} for role, file in sorted(entry.files.items())
        },
    }


def render_checks(checks: Sequence[ParityCheck]) -> list[str]:
    """Return a table of the largest absolute error of each stage beside its tolerance."""
    width = max([_NAME_WIDTH, *(len(check.stage) for check in checks)])
    lines = [f"{'stage':<{width}} {'largest error':>13} {'tolerance':>10}"]
    for check in checks:
        verdict = "ok" if check.passes else "TOO LARGE"
        lines.append(f"{check.stage:<{width}} {check.error:>13.3g} {check.tolerance:>10.3g}  {verdict}")
    return lines


def _describe_check(check: ParityCheck) -> dict[str, Any]:
    error = check.error if math.isfinite(check.error) else None
    return {"stage": check.stage, "error": error, "tolerance": check.tolerance, "passed": check.passes}


def _check(name: str, golden: Path) -> Sequence[ParityCheck]:
    try:
        return check_parity(name, golden)
    except FileNotFoundError as error:
        # safetensors names the file in its text only.
        missing = str(error.filename or error).rsplit("/", 1)[-1]
        raise Defect(f"the golden folder of {name} lacks {missing}") from error
    except (OSError, LookupError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise Defect(f"the folder is not a golden folder of {name}: {type(error).__name__} {error}") from error


def _find_faults(entry: ModelEntry) -> Iterator[tuple[str, str]]:
    for role, file in entry.files.items():
        try:
            verify(file)
        except Defect as defect:
            yield role, str(defect)


@contextmanager
def _told_disk() -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:  # of a temporary folder as well, which may lie on another disk
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise Defect(f"the weights cannot be written: {reason}; nothing was changed") from error


@contextmanager
def told_defects() -> Iterator[None]:
    """Tell a defect of weights or vectors in one line and exit 2."""
    try:
        yield
    except Defect as defect:
        typer.echo(str(defect), err=True)
        raise typer.Exit(2) from defect
