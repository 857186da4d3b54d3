"""`ctclip phantom`: write a synthetic chest CT with known findings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from phantom.dicom import make_uids, write_zip
from phantom.gantry import MOST_DEGREES
from phantom.study import FINDINGS, PhantomSettings, Study, make_study


def phantom(
    seed: Annotated[
        int, typer.Option(min=0, help="The patient and the noise; the same seed gives the same bytes.")
    ] = 0,
    finding: Annotated[list[str] | None, typer.Option(help="A finding to put in; may be given again.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The ZIP of DICOM files to write.")] = Path(
        "study.zip"
    ),
    *,
    coarse: Annotated[bool, typer.Option("--coarse", help="Small and fast: 96 x 96 voxels of about 4 mm.")] = False,
    look_alikes: Annotated[
        float, typer.Option(min=0, max=1, help="Chance of each distractor that is normal: metal, motion and others.")
    ] = 0.0,
    tilt: Annotated[
        float,
        typer.Option(
            min=-MOST_DEGREES, max=MOST_DEGREES, help="Degrees that the gantry leans, the back to the head if positive."
        ),
    ] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the ground truth as JSON.")] = False,
    list_findings: Annotated[bool, typer.Option("--list", help="List the findings and write nothing.")] = False,
) -> None:
    """Write a synthetic chest CT (no patient) with the findings asked for, and print its ground truth."""
    if list_findings:
        typer.echo(json.dumps(list(FINDINGS)) if as_json else "\n".join(FINDINGS))
        return
    settings = PhantomSettings.coarse() if coarse else PhantomSettings.standard()
    with _tell_usage("--look-alikes, --tilt"):
        settings = replace(settings, distractor_share=look_alikes, gantry_tilt_degrees=(tilt, tilt))
    with _tell_usage("--finding"):
        study = make_study(seed, finding or (), settings)
    try:
        write_zip(study, output)
    except OSError as error:
        raise typer.BadParameter(f"{output} cannot be written ({error.strerror}).", param_hint="--output") from error
    typer.echo(json.dumps(describe_study(study, output)) if as_json else _tell(study, output))


@contextmanager
def _tell_usage(options: str) -> Iterator[None]:
    """Let a value that makes no study be told as a wrong use of the options that it came by."""
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=options) from error


def describe_study(study: Study, path: Path) -> dict[str, Any]:
    """Return what is known of a phantom, as plain JSON values."""
    uids = make_uids(study)
    return {
        "path": str(path),
        "seed": study.seed,
        "study_uid": str(uids.study),
        "series_uid": str(uids.series),
        "shape_zyx": list(study.hu.shape),
        "spacing_zyx_mm": list(study.spacing_zyx_mm),
        "origin_lps_mm": list(study.origin_lps_mm),
        "kernel": study.kernel,
        "manufacturer": study.manufacturer,
        "slice_thickness_mm": study.slice_thickness_mm,
        "gantry_tilt_degrees": study.gantry_tilt_degrees,
        "findings": [asdict(placed) for placed in study.findings],
        "distractors": list(study.distractors),
    }


def _tell(study: Study, path: Path) -> str:
    depth, height, width = study.hu.shape
    step, pixel, _ = study.spacing_zyx_mm
    lines = [f"{path}: {depth} slices of {width} x {height}, {step:g} x {pixel:.3f} mm, kernel {study.kernel}"]
    for placed in study.findings:
        x, y, z = placed.centre_lps_mm
        lines.append(f"  {placed.name}: severity {placed.severity:.2f}, centre ({x:.0f}, {y:.0f}, {z:.0f}) mm LPS")
    if not study.findings:
        lines.append("  no findings")
    if study.gantry_tilt_degrees:
        lines.append(f"  gantry tilted by {study.gantry_tilt_degrees:g} degrees")
    if study.distractors:
        lines.append(f"  look-alikes that are normal: {', '.join(study.distractors)}")
    return "\n".join(lines)
