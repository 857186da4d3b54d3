"""Fine-tuning from a site's own studies: read, encode, fit, measure, publish. Resumable at every step."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from model_weights.catalogue import ModelEntry
from shared.errors import Defect
from shared.settings import WeightsProfile
from training.supervised.base import BaseModel
from training.supervised.card import write_card
from training.supervised.fitting import Report, Studies
from training.supervised.latents import EncodedRow, Encoding
from training.supervised.learning import Learnt, Material, learn
from training.supervised.outcome import LeftOut, Outcome, describe_outcome
from training.supervised.plan import FineTuningPlan
from training.supervised.reading import StudyReader
from training.supervised.report import write_report
from training.supervised.table import Split, Table
from workers.ct_clip.conversion import Configuration
from workers.supervised.conversion import publish_classifier


@dataclass(frozen=True)
class FineTuning:
    """What is asked for. Latents, checkpoints and the report lie in `state`; the entry goes into `catalogue`."""

    name: str
    version: str
    licence: str
    base: BaseModel
    table: Table
    plan: FineTuningPlan
    least_specificity: float
    state: Path
    catalogue: Path
    command: str


def fine_tune(asked: FineTuning, device: torch.device, report: Report) -> ModelEntry:
    """Publish a classifier and write its report. Raises Defect when nothing can be learnt from the table."""
    started = time.monotonic()
    asked.state.mkdir(parents=True, exist_ok=True)
    with StudyReader(asked.state / "volumes", keeps_volumes=asked.plan.trains_encoder) as reader:
        encoding = Encoding(asked.base, reader, asked.state / "latents", device)
        rows = encoding.encode_all(asked.table.rows, report)
        learnt = learn(
            asked.base,
            asked.plan,
            make_material(asked.table.labels, rows, encoding),
            least_specificity=asked.least_specificity,
            state=asked.state,
            device=device,
            report=report,
        )
    outcome = _describe(asked, rows, learnt, time.monotonic() - started)
    write_documents(outcome, asked.state)
    return publish_learnt(asked, learnt)


def make_material(labels: tuple[str, ...], rows: Sequence[EncodedRow], encoding: Encoding) -> Material:
    """Return the rows that have a latent, by split. Raises Defect when none is left to train on."""
    by_split = {
        split: [each for each in rows if each.latent is not None and each.row.split is split] for split in Split
    }
    if not by_split[Split.TRAINING]:
        raise Defect("no training study of the table could be read; the report of `ctclip inspect` on one says why")
    return Material(
        labels=labels,
        studies={split: _make_studies(chosen, len(labels), encoding) for split, chosen in by_split.items()},
        groups={split: [each.row.group for each in chosen] for split, chosen in by_split.items()},
    )


def write_documents(outcome: Outcome, folder: Path) -> None:
    """Write the page, the JSON and the card."""
    (folder / "report.html").write_text(write_report(outcome), encoding="utf-8")
    told = json.dumps(describe_outcome(outcome), indent=1, allow_nan=False)
    (folder / "report.json").write_text(told + "\n", encoding="utf-8")
    (folder / "card.md").write_text(write_card(outcome), encoding="utf-8")


def publish_learnt(asked: FineTuning, learnt: Learnt) -> ModelEntry:
    """Write the classifier with its card into the catalogue, under the terms of what it was trained from."""
    configuration = Configuration(
        name=asked.name,
        version=asked.version,
        origin=f"fine-tuned by training.supervised from {asked.base.description}",
        licence=asked.licence,
        labels=learnt.labels,
        architecture=asked.base.architecture,
        preprocessing=asked.base.preprocessing,
        thresholds=learnt.thresholds,
    )
    return publish_classifier(
        learnt.classifier,
        learnt.labels,
        configuration,
        profile=WeightsProfile.FULL,
        catalogue=asked.catalogue,
        card=asked.state / "card.md",
        reference=None if asked.plan.trains_encoder else asked.base.reference,
    )


def _make_studies(chosen: Sequence[EncodedRow], labels: int, encoding: Encoding) -> Studies:
    def prepare(number: int) -> torch.Tensor:
        each = chosen[number]
        return encoding.prepare(each.row, str(each.digest))

    latents = [each.latent for each in chosen if each.latent is not None]
    return Studies(
        targets=torch.tensor([each.row.targets for each in chosen]).view(len(chosen), labels),
        weights=torch.tensor([each.row.weight for each in chosen]),
        latents=torch.stack(latents) if latents else torch.zeros(0, 1),
        prepare=prepare,
    )


def _describe(asked: FineTuning, rows: Sequence[EncodedRow], learnt: Learnt, seconds: float) -> Outcome:
    used = [each for each in rows if each.latent is not None]
    counts = Counter(each.row.split for each in used)
    groups = {split: len({each.row.group for each in used if each.row.split is split}) for split in Split}
    return Outcome(
        name=asked.name,
        base=asked.base.description,
        encoder_digest=asked.base.encoder_digest,
        licence=asked.licence,
        command=asked.command,
        plan=asked.plan,
        least_specificity=asked.least_specificity,
        counts={split: counts[split] for split in Split},
        groups=groups,
        has_patients=asked.table.has_patients,
        has_splits=asked.table.has_splits,
        labels=learnt.reports,
        measured_on=learnt.measured_on,
        untaught=learnt.untaught,
        left_out=[
            LeftOut(each.row.line, each.row.split, each.problem, each.detail)
            for each in rows
            if each.problem is not None
        ],
        history=learnt.history,
        seconds=seconds,
    )
