"""`python -m training.supervised`: fine-tune the supervised head on a site's studies, or make the demo weights."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from model_weights.catalogue import CATALOGUE_FILE
from model_weights.publishing import make_catalogue_path
from shared.errors import Defect, TransientFault
from training.command import say
from training.supervised.base import BaseModel, open_base
from training.supervised.demo import DemoPlan, make_demo
from training.supervised.fine_tuning import FineTuning, fine_tune
from training.supervised.plan import FineTuningPlan, FineTuningStage, Part
from training.supervised.table import Columns, read_table
from workers.conversion import read_configuration
from workers.ct_clip.configuration import Architecture, Preprocessing
from workers.device import choose_device
from workers.supervised.configuration import HeadKind
from workers.supervised.labels import DEFAULT_LABELS

_USAGE, _FAULT = 2, 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; end with one line and status 2 when table or weights cannot be used, 1 when a disk is full."""
    given = [*(sys.argv[1:] if arguments is None else arguments)]
    options = _parse(given)
    torch.set_num_threads(max(options.threads, 0) or os.cpu_count() or 1)
    try:
        options.run(options, _describe_command(given))
    except Defect as defect:
        say(str(defect))
        raise SystemExit(_USAGE) from defect
    except (OSError, TransientFault) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else str(fault)
        say(f"stopped: {reason or type(fault).__name__}; once that is mended the same command goes on from here")
        raise SystemExit(_FAULT) from fault


def _run_finetune(options: argparse.Namespace, command: str) -> None:
    base = _open_base(options)
    plan = _make_plan(options)
    wanted = [label.strip() for label in options.labels.split(",")] if options.labels else DEFAULT_LABELS[plan.head]
    if not 0 <= options.least_specificity <= 1:
        raise Defect("--least-specificity must be between 0 and 1")
    columns = Columns(options.path_column, options.patient_column, options.split_column)
    asked = FineTuning(
        name=options.name,
        version=options.version,
        licence=options.licence or base.licence,
        base=base,
        table=read_table(options.table, wanted, columns, root=options.root, seed=plan.seed),
        plan=plan,
        least_specificity=options.least_specificity,
        state=options.state,
        catalogue=make_catalogue_path(options.weights_dir),
        command=command,
    )
    options.weights_dir.mkdir(parents=True, exist_ok=True)
    device = _find_device(options.device)
    entry = fine_tune(asked, device, say)
    say(f"report in {options.state / 'report.html'}")
    say(f"published {entry.name} {entry.version}, digest {entry.digest}, licence {entry.licence}")


def _run_demo(options: argparse.Namespace, _command: str) -> None:
    plan = DemoPlan(
        training_studies=options.training_studies,
        validation_studies=options.validation_studies,
        held_out_studies=options.held_out_studies,
    )
    plan = replace(plan, fine_tuning=replace(plan.fine_tuning, seed=options.seed))
    entry = make_demo(plan, options.state, options.catalogue, processes=options.processes, report=say)
    say(f"published {entry.name} {entry.version}, digest {entry.digest}")


def _open_base(options: argparse.Namespace) -> BaseModel:
    told: dict[str, Any] = {} if options.config is None else read_configuration(options.config, ())
    architecture = Architecture.from_table(told.get("architecture", {}))
    return open_base(options.ct_clip, architecture, Preprocessing.from_table(told.get("preprocessing", {})))


def _find_device(name: str | None) -> torch.device:
    """Return the device that was asked for. Raises Defect when it is not there."""
    try:
        device = torch.device(name) if name else choose_device()
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for CUDA
        raise Defect(f"there is no device {name!r} here; try --device cpu") from error
    return device


def _make_plan(options: argparse.Namespace) -> FineTuningPlan:
    epochs = {Part.HEAD: options.head_epochs, Part.TOP: options.top_epochs, Part.ALL: options.all_epochs}
    return FineTuningPlan(
        head=HeadKind(options.head),
        stages=tuple(FineTuningStage(part, count) for part, count in epochs.items() if count > 0),
        seed=options.seed,
        batch=options.batch,
        head_rate=options.head_rate,
        encoder_rate=options.encoder_rate,
        is_bfloat16=options.bf16,
    )


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.supervised", description=__doc__)
    commands = parser.add_subparsers(required=True)
    finetune = commands.add_parser(
        "finetune",
        help="train the head (and the encoder) on studies and labels of a CSV file",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    finetune.set_defaults(run=_run_finetune)
    _add_input(finetune)
    _add_output(finetune)
    _add_plan(finetune)
    demo = commands.add_parser(
        "demo",
        help="train the demo weights on phantoms, on the encoder of the demo CT-CLIP",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    demo.set_defaults(run=_run_demo)
    _add_demo(demo)
    return parser.parse_args(arguments)


def _add_input(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("table", type=Path, help="CSV file: path of the study, labels (0, 1, empty), split and patient if known")
    add("--ct-clip", type=Path, required=True, help="folder of installed weights, or a checkpoint as published (.pt)")
    add("--config", type=Path, help="JSON with architecture and preprocessing of a checkpoint of another shape")
    add("--root", type=Path, help="folder that paths of the table are relative to; by default that of the table")
    add("--labels", help="columns to learn, separated by commas; by default those of the published head")
    add("--path-column", default=Columns.path, help="column with the paths")
    add("--patient-column", default=Columns.patient, help="column with the patients")
    add("--split-column", default=Columns.split, help="column with train, validation, test")


def _add_output(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--weights-dir", type=Path, required=True, help="folder of weights to publish into (CTCLIP_WEIGHTS_DIR)")
    add("--state", type=Path, default=Path(".ctclip/training/supervised"), help="latents, checkpoints, report")
    add("--name", default="supervised-finetuned", help="name of the entry")
    add("--version", default="1", help="version of the entry")
    add("--licence", help="licence of the weights; by default that of what they are trained from")


def _add_plan(parser: argparse.ArgumentParser) -> None:
    plan, add = FineTuningPlan(), parser.add_argument
    add("--head", choices=[*map(str, HeadKind)], default=str(plan.head), help="rectified is that of ClassFine (LiPro)")
    add("--head-epochs", type=int, default=plan.stages[0].epochs, help="epochs of the head alone, on kept latents")
    add("--top-epochs", type=int, default=0, help="epochs of the head and the last layers of the encoder")
    add("--all-epochs", type=int, default=0, help="epochs of the head and the whole encoder")
    add("--batch", type=int, default=plan.batch, help="studies of one update")
    add("--head-rate", type=float, default=plan.head_rate, help="peak rate of the head")
    add("--encoder-rate", type=float, default=plan.encoder_rate, help="peak rate of the encoder's top layer")
    add("--least-specificity", type=float, default=0.8, help="floor of the specificity at a threshold")
    add("--bf16", action="store_true", help="train the encoder in bfloat16 (GPU)")
    add("--seed", type=int, default=plan.seed)
    add("--device", help="cuda or cpu; by default the GPU where there is one")
    add("--threads", type=int, default=0, help="threads of the network; 0: all cores")


def _add_demo(parser: argparse.ArgumentParser) -> None:
    plan, add = DemoPlan(), parser.add_argument
    add("--seed", type=int, default=plan.fine_tuning.seed)
    add("--training-studies", type=int, default=plan.training_studies)
    add("--validation-studies", type=int, default=plan.validation_studies)
    add("--held-out-studies", type=int, default=plan.held_out_studies)
    add("--state", type=Path, default=Path(".ctclip/training/supervised-demo"), help="phantoms, checkpoints")
    add("--catalogue", type=Path, default=CATALOGUE_FILE, help="catalogue with the CT-CLIP, to publish into")
    add("--processes", type=int, default=1, help="processes that make phantoms ahead")
    add("--threads", type=int, default=1, help="threads of the network; 0: all cores")


def _describe_command(given: Sequence[str]) -> str:
    """Return the command with names in place of paths: it goes into the card, which leaves this machine."""
    return shlex.join(["python", "-m", "training.supervised", *(each.rstrip("/").rsplit("/", 1)[-1] for each in given)])


if __name__ == "__main__":
    main()
