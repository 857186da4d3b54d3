"""The two texts beside a fusion that a site trained: its description, and the card that people read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.evaluation.case import Case, LeftOut
from training.evaluation.reports import list_truth
from training.evaluation.weights import find_policy
from training.fusion_card import (
    EXPLANATION,
    Trained,
    describe_dropout,
    describe_evidence,
    describe_fusion,
    format_comparisons,
    format_reports,
    list_digests,
    name_model,
)
from training.fusion_plan import FusionPlan

_UNTOLD = """\
"Not told" are studies of which the table does not say whether they have the finding that led.
"""

_NO_PATIENTS = """\
- The table names no patients: studies of one patient may have been fitted to and measured on, and then the figures are
  too good.
"""

_TARGET = "the table says that something is wrong"

_LIMITS = """\
## Limits
- The figures are about studies like those of the table, and as right as its labels are.
- Not a medical device: whether it may be used, and for what, is for the site to show.
- A model that is imported again answers otherwise: train the fusion again.
"""


@dataclass(frozen=True, kw_only=True)
class SiteFusion(Trained):
    """A fusion with the studies of the table that it was fitted to. `patients`: None where nobody told."""

    training: Sequence[Case]
    patients: int | None
    left_out: Sequence[LeftOut]


def describe(trained: SiteFusion) -> dict[str, Any]:
    """Return the JSON beside the LightGBM text. It names no study."""
    training = {
        "command": "python -m training.site_fusion",
        "seed": trained.plan.booster.seed,
        "studies": {"training": len(trained.training), "held_out": len(trained.held_out)},
        "dropout": trained.plan.dropout,
        "models": list_digests(trained.models, trained.segmentation),
        "target": _TARGET,
    }
    return describe_fusion(trained, training)


def write_card(trained: SiteFusion) -> str:
    """Return the model card in Markdown."""
    plan, booster = trained.plan, trained.fitted.booster
    return f"""# Model card: fusion of a site

**Not a medical device.** Trained and measured on studies that the site labelled.

| | |
|---|---|
| What | LightGBM, {plan.booster.trees} trees of at most {plan.booster.leaves} leaves, over the 168 features; monotone |
| Target | {_TARGET} |
| Training | {_count(trained.training)}, {_tell_patients(trained.patients)} |
| Held out | {_count(trained.held_out)} |
| Left out | {_tell_left_out(trained.left_out)} |
| Answers, by the code that serves | {"; ".join(name_model(entry) for entry in trained.models)} |
| May move the score | {_describe_choice(plan)}, maxima |
| Is evidence of a finding | {describe_evidence(plan, booster)} |
| Moves the score | {", ".join(f"`{name}`" for name in booster.used_features)} |
| Missing models | {describe_dropout(plan)} |
| Calibration | a line in log-odds for each set of models, cross-validated over {_tell_parts(trained)} |
| Threshold | {find_policy().threshold:.2f} (policy `default`; choose one of your own by these figures) |
| Seed | {plan.booster.seed} |

## Measured on the held-out studies
{format_reports(trained.reports)}

{EXPLANATION}{_UNTOLD}
{format_comparisons(trained.comparisons)}{_LIMITS}{_NO_PATIENTS if trained.patients is None else ""}"""


def _count(cases: Sequence[Case]) -> str:
    return f"{len(cases)} studies, {int(list_truth(cases).sum())} with a pathology"


def _tell_patients(patients: int | None) -> str:
    return "whose patients the table does not name" if patients is None else f"of {patients} patients"


def _tell_parts(trained: SiteFusion) -> str:
    return f"{trained.plan.folds} parts{'' if trained.patients is None else ' by patient'}"


def _describe_choice(plan: FusionPlan) -> str:
    told = f"told of {plan.least_told} studies with it and {plan.least_told} without"
    return f"labels that recognise their own finding among others (AUC >= {plan.least_own_auc}, {told})"


def _tell_left_out(left_out: Sequence[LeftOut]) -> str:
    counts = Counter(each.code for each in left_out)
    return ", ".join(f"{count} as `{code}`" for code, count in sorted(counts.items())) or "no line"
