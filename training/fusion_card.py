"""The two texts beside a trained fusion: the description that it is loaded by, and the card that people read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model_weights.catalogue import ModelEntry
from model_weights.policies.finding_thresholds import to_document
from shared.stages import StageName
from training.evaluation.case import Case
from training.evaluation.reports import Comparison, LeadingCounts, Report
from training.evaluation.weights import find_policy
from training.fusion_booster import FittedBooster
from training.fusion_plan import FusionPlan
from workers.drift.reference import Reference
from workers.fusion.aggregates import compute_vector
from workers.fusion.booster import FusionBooster, make_known_answer

_FORMAT = 1
_ANSWERS = 3

_COLUMNS = (
    "Models that answered",
    "Scanner",
    "Studies (with a finding)",
    "AUC (95 % interval)",
    "ECE",
    "Sensitivity",
    "Specificity",
    "Leading finding: right, wrong, none",
)
_HEADING = f"| {' | '.join(_COLUMNS)} |\n{'|---' * len(_COLUMNS)}|"


EXPLANATION = """\
Intervals are by bootstrap over studies. The last column counts studies with a finding that were called pathological:
the leading finding was really there, was not, or none was named for want of evidence. Without any answer the booster
gives one constant probability, the share of studies with a finding in training: its AUC is 0.5 by construction, and
class 0 at the threshold says only that nothing is known.
"""

_LIMITS = """\
## Limits
- The phantoms are simpler than patients; the figures above measure the software, not medicine.
- "shifted" is the same generator with other patients, other kernels, more noise, thicker slices, contrast and, in a
  fifth of the studies, a leaning gantry; it is still a phantom.
"""


@dataclass(frozen=True)
class Trained:
    """A fitted booster, the models whose answers it was fitted on, and what was measured of it.

    `reports`: one for each subset of the models. `comparisons`: of all models with the smaller subsets. `reference`:
    how the features of the training studies are distributed.
    """

    plan: FusionPlan
    models: Sequence[ModelEntry]
    fitted: FittedBooster
    reports: Sequence[Report]
    comparisons: Sequence[Comparison]
    held_out: Sequence[Case]
    reference: Reference
    segmentation: ModelEntry | None = None


def describe(trained: Trained) -> dict[str, Any]:
    """Return the JSON beside the LightGBM text: features, known answers, and how it came to be."""
    plan = trained.plan
    training = {
        "command": make_command(plan),
        "seed": plan.booster.seed,
        "seeds": {
            "training": _tell_range(plan.training_seeds),
            "held_out": _tell_range(plan.held_out_seeds),
            "shifted": _tell_range(plan.shifted_seeds),
        },
        "dropout": plan.dropout,
        "models": list_digests(trained.models, trained.segmentation),
        "target": "any finding present in the phantom",
    }
    return describe_fusion(trained, training)


def describe_fusion(trained: Trained, training: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a fusion: what the stage needs, its answers to some studies, and what it is worth."""
    booster = trained.fitted.booster
    questions = [{}, *(case.features for case in trained.held_out[:_ANSWERS])]
    return {
        "format": _FORMAT,
        "features": list(booster.features),
        "features_sha256": hashlib.sha256(json.dumps(list(booster.features)).encode()).hexdigest(),
        "calibration": [line.to_document() for line in booster.calibration],
        "policy_defaults": _describe_policy(booster),
        "known_answers": [make_known_answer(booster, compute_vector(question)) for question in questions],
        "training": training,
        "used_features": list(booster.used_features),
        "measured": [_tell_report(report) for report in trained.reports],
        "compared": [_tell_comparison(comparison) for comparison in trained.comparisons],
    }


def list_digests(models: Iterable[ModelEntry], segmentation: ModelEntry | None) -> dict[str, str]:
    """Return by what the models are known, and the segmentation whose masks they read."""
    return {str(entry.stage): entry.digest for entry in (*models, segmentation) if entry is not None}


def _describe_policy(booster: FusionBooster) -> dict[str, Any]:
    policy, thresholds = find_policy(), booster.thresholds
    # Without the key each model's own thresholds serve; an empty table says that nothing is evidence.
    chosen = {} if thresholds is None else {"finding_thresholds": to_document(thresholds)}
    return {"threshold": policy.threshold, "minimum_models": policy.minimum_models, **chosen}


def make_command(plan: FusionPlan) -> str:
    """Return the command that makes these weights again."""
    return (
        f"python -m training.fusion --training-studies {plan.training_studies} --masked-studies {plan.masked_studies} "
        f"--held-out-studies {plan.held_out_studies} --shifted-studies {plan.shifted_studies}"
    )


def write_card(trained: Trained) -> str:
    """Return the model card in Markdown."""
    plan = trained.plan
    findings = sorted({name for case in trained.held_out for name in case.truth})
    return f"""# Model card: fusion of the demo profile

**Not for clinical use.** Trained and measured on computed phantoms only; nothing is claimed for patients.

| | |
|---|---|
| What | LightGBM, {plan.booster.trees} trees of at most {plan.booster.leaves} leaves, over the 168 features; monotone |
| Target | any finding is present in the phantom |
| Training | {plan.training_studies} studies, seeds {_tell_range(plan.training_seeds)} |
| Segmented | the first {len(plan.masked_seeds)} of these; in the others the models that read masks are missing |
| Held out | {plan.held_out_studies} studies, seeds {_tell_range(plan.held_out_seeds)} |
| Held out, other scanners and patients | {plan.shifted_studies} studies, seeds {_tell_range(plan.shifted_seeds)} |
| Findings drawn | {", ".join(findings)} |
| Answers, by the code that serves | {"; ".join(name_model(entry) for entry in trained.models)} |
| May move the score | labels that recognise their own finding among others (AUC >= {plan.least_own_auc}), maxima |
| Is evidence of a finding | {describe_evidence(plan, trained.fitted.booster)} |
| Moves the score | {", ".join(f"`{name}`" for name in trained.fitted.booster.used_features)} |
| Missing models | {describe_dropout(plan)} |
| Calibration | a line in log-odds for each set of models that answered, cross-validated over {plan.folds} parts |
| Threshold | {find_policy().threshold:.2f} (policy `default`) |
| Seed | {plan.booster.seed} |
| Command | `{make_command(plan)}` |

## Measured on the held-out phantoms
{format_reports(trained.reports)}

{EXPLANATION}
{format_comparisons(trained.comparisons)}{_LIMITS}"""


def describe_evidence(plan: FusionPlan, booster: FusionBooster) -> str:
    """Return which labels are evidence of their finding, and from what probability on."""
    labels = [
        f"`{model}` {label} from {cut}"
        for model, cuts in (booster.thresholds or {}).items()
        for label, cut in cuts.items()
    ]
    rule = f"such a label at a specificity of {plan.least_specificity:.0%} or more over studies with other findings"
    return f"{rule}: {', '.join(labels) or 'none'}"


def describe_dropout(plan: FusionPlan) -> str:
    """Return how often models were left out in training."""
    return f"all others; {plan.copies - 1} of {plan.copies} training vectors lack each with chance {plan.dropout}"


def name_model(entry: ModelEntry) -> str:
    """Return a model with its version and the start of its digest."""
    return f"`{entry.name}` version {entry.version}, digest `{entry.digest[:12]}`"


def _name_subset(models: Iterable[StageName]) -> str:
    return ", ".join(models) or "none"


def _tell_range(seeds: range) -> str:
    return f"{seeds.start}:{seeds.stop}"


def _tell_report(report: Report) -> dict[str, Any]:
    return {
        "models": [str(model) for model in report.models],
        "scanner": report.scanner,
        "studies": report.studies,
        "pathological": report.pathological,
        "auc": report.auc,
        "auc_interval": list(report.auc_interval),
        "ece": report.calibration_error,
        "sensitivity": report.sensitivity,
        "specificity": report.specificity,
        "leading_right": report.leading.right,
        "leading_wrong": report.leading.wrong,
        "leading_none": report.leading.none,
        **({"leading_untold": report.leading.untold} if report.leading.untold else {}),
    }


def _tell_comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "models": [str(model) for model in comparison.models],
        "others": [str(model) for model in comparison.others],
        "auc_difference": comparison.paired.difference,
        "auc_difference_interval": list(comparison.paired.interval),
        "p": comparison.paired.p,
    }


def format_comparisons(comparisons: Sequence[Comparison]) -> str:
    """Return the table of what fewer models are worth, with its heading; nothing where there is none."""
    if not comparisons:
        return ""
    rows = (
        f"| {_name_subset(each.others)} | {each.paired.difference:+.3f} "
        f"({each.paired.interval[0]:+.3f} to {each.paired.interval[1]:+.3f}) | {each.paired.p:.3f} |"
        for each in comparisons
    )
    return f"""## All models beside fewer
How much higher the AUC is with all models, paired over the same studies.

| Than with | Difference (95 % interval) | p |
|---|---|---|
{chr(10).join(rows)}

"""


def format_reports(reports: Sequence[Report]) -> str:
    """Return one line of a table for each set of models that was measured."""
    return "\n".join([_HEADING, *(_format_report(report) for report in reports)])


def _tell_leading(leading: LeadingCounts) -> str:
    counts = f"{leading.right}, {leading.wrong}, {leading.none}"
    return f"{counts}; {leading.untold} not told" if leading.untold else counts


def _format_report(report: Report) -> str:
    low, high = report.auc_interval
    cells = (
        _name_subset(report.models),
        report.scanner,
        f"{report.studies} ({report.pathological})",
        f"{report.auc:.3f} ({low:.3f} to {high:.3f})",
        f"{report.calibration_error:.3f}",
        f"{report.sensitivity:.2f}",
        f"{report.specificity:.2f}",
        _tell_leading(report.leading),
    )
    return f"| {' | '.join(cells)} |"
