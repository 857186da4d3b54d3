"""`ctclip models precision`: what bfloat16 changes for installed weights on this machine, written beside them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from importlib.metadata import entry_points
from io import StringIO
from pathlib import Path
from typing import Any

import torch
import typer

from model_weights.catalogue import ModelEntry
from shared.errors import Defect
from shared.precision import Precision
from workers.device import ComputeMode, choose_device
from workers.intake.children import ChildPool
from workers.intake.local_study import make_local_order
from workers.intake.question import Question
from workers.model_host.precision import LARGEST_ERROR, PrecisionMeasurement, record
from workers.model_host.precision_measuring import (
    PREDICTOR_MODULES,
    Trial,
    compare,
    find_largest_error,
    list_names,
    run_trial,
)
from workers.volume import Volume, VolumeFile

_FINDINGS = ("pleural_effusion", "", "consolidation", "cardiomegaly", "emphysema", "mass", "ground_glass", "fibrosis")
"""What the phantoms show, in turn."""


def measure(
    entry: ModelEntry, studies: Sequence[Path], *, phantoms: int, compiles: bool, as_json: bool
) -> PrecisionMeasurement:
    """Measure, record and print. Raises Defect and InputProblem."""
    if entry.stage not in PREDICTOR_MODULES:
        raise Defect(f"the precision of {entry.stage} cannot be chosen; it can for {', '.join(list_names())}")
    device = choose_device()
    with tempfile.TemporaryDirectory(prefix="ctclip-") as folder:
        paths = studies or list(_make_phantoms(phantoms, Path(folder)))
        volumes = list(_read_volumes(paths, Path(folder)))
    exact = run_trial(entry, volumes, device, ComputeMode())
    measurement = compare(entry, device, exact, run_trial(entry, volumes, device, ComputeMode(Precision.BF16)))
    compiled = run_trial(entry, volumes, device, ComputeMode(is_compiled=True)) if compiles else None
    document = _describe(measurement, exact, compiled)
    typer.echo(json.dumps(document) if as_json else "\n".join(_render(entry, measurement, exact, compiled)))
    _keep(entry, measurement)
    if not as_json:
        taken = Precision.BF16 if measurement.pays else Precision.FP32
        typer.echo(f"CTCLIP_PRECISION=auto takes {taken} for this model from the next start of a worker")
    return measurement


def _keep(entry: ModelEntry, measurement: PrecisionMeasurement) -> None:
    try:
        record(entry, measurement)
    except OSError as error:
        raise Defect(
            f"what was measured cannot be written beside the weights: {error.strerror}. Measure where that folder is"
            " writable, on the same kind of device"
        ) from error


def _make_phantoms(count: int, folder: Path) -> Iterator[Path]:
    """Write phantoms with the command that is installed for it: workers do not know phantoms."""
    found = [point for point in entry_points(group="ctclip.commands") if point.name == "phantom"]
    if not found:
        raise Defect("there are no phantoms in this installation; name studies instead")
    write = found[0].load()
    for seed in range(count):
        path = folder / f"phantom_{seed}.zip"
        finding = _FINDINGS[seed % len(_FINDINGS)]
        with redirect_stdout(StringIO()):
            write(seed=seed, finding=[finding] if finding else None, output=path, coarse=True)
        yield path


def _read_volumes(studies: Sequence[Path], folder: Path) -> Iterator[Volume]:
    children = ChildPool()
    try:
        for number, study in enumerate(studies):
            order = make_local_order(study, folder / f"{number}.b2nd", Question(), keeps_volume=True)
            problem = children.read(order, lambda _progress: None).problem
            if problem is not None:
                raise Defect(f"study {number + 1} of {len(studies)} cannot be used ({problem.code}): {problem.detail}")
            yield VolumeFile(order.volume_path).read()
    finally:
        children.close()


def _describe(measurement: PrecisionMeasurement, exact: Trial, compiled: Trial | None) -> dict[str, Any]:
    document = {
        "digest": measurement.digest,
        "device": measurement.device,
        "studies": measurement.studies,
        "bf16": {
            "largest_error": measurement.largest_error,
            "allowed": LARGEST_ERROR,
            "is_allowed": measurement.is_allowed,
            "code_flips": measurement.code_flips,
            "seconds": measurement.seconds,
        },
        "fp32": {"seconds": exact.seconds, "ready_s": exact.ready_s},
        "auto": Precision.BF16 if measurement.pays else Precision.FP32,
    }
    if compiled is None:
        return document
    told = {"seconds": compiled.seconds, "ready_s": compiled.ready_s}
    return {**document, "compiled": {**told, "largest_error": find_largest_error(exact, compiled)}}


def _render(entry: ModelEntry, found: PrecisionMeasurement, exact: Trial, compiled: Trial | None) -> Iterator[str]:
    yield f"{entry.name} {entry.version} on {found.device}, {torch.get_num_threads()} threads, {found.studies} studies"
    yield f"fp32      {exact.seconds:8.3f} s a study, ready after {exact.ready_s:.1f} s"
    flips = "" if found.code_flips is None else f", {found.code_flips:.2%} of the codes are others"
    verdict = "allowed" if found.is_allowed else "NOT allowed"
    yield f"bf16      {found.seconds:8.3f} s a study, largest error {found.largest_error:.2g}{flips}: {verdict}"
    if compiled is not None:
        error = find_largest_error(exact, compiled)
        yield f"compiled  {compiled.seconds:8.3f} s a study, ready after {compiled.ready_s:.1f} s, error {error:.2g}"
