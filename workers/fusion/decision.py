"""The decision: class by the policy's threshold, findings with their evidence, and the one that leads. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model_weights.policies import Policy
from shared.findings import FINDINGS, Finding, FindingKind
from shared.stages import StageName
from workers.fusion.answers import Answers

NO_SPECIFIC_PATHOLOGY = "No specific pathology detected"


@dataclass(frozen=True)
class FindingEvidence:
    """One finding that at least one model spoke of. `attribution` in log-odds, over all models; `rank` from 1."""

    finding: Finding
    rank: int
    probabilities: Mapping[StageName, float]
    thresholds: Mapping[StageName, float]
    attribution: float

    @property
    def is_above_threshold(self) -> bool:
        """Whether any model's probability reaches that model's own threshold."""
        return any(
            probability >= self.thresholds[model]
            for model, probability in self.probabilities.items()
            if model in self.thresholds
        )

    @property
    def may_lead(self) -> bool:
        """Whether the finding raised the score, has evidence of its own and names something."""
        return self.finding.kind is FindingKind.FINDING and self.attribution > 0 and self.is_above_threshold


@dataclass(frozen=True)
class Decision:
    """What is said of the study."""

    probability: float
    is_pathological: bool
    findings: Sequence[FindingEvidence]

    @property
    def top(self) -> Sequence[FindingEvidence]:
        """The findings that explain class 1, the most important first; none for class 0."""
        return [evidence for evidence in self.findings if evidence.may_lead] if self.is_pathological else []

    @property
    def leading(self) -> str:
        """Name of the finding that influenced the decision most.

        Class 1 without a finding that has evidence of its own leads with nothing: no finding is named that no model
        would stand for.
        """
        return self.top[0].finding.name if self.top else NO_SPECIFIC_PATHOLOGY


def decide(probability: float, policy: Policy, answers: Answers, attributions: Mapping[str, float]) -> Decision:
    """Judge one study; `attributions` are by the id of the finding."""
    return Decision(
        probability=probability,
        is_pathological=probability >= policy.threshold,
        findings=_rank_findings(answers, attributions),
    )


def _rank_findings(answers: Answers, attributions: Mapping[str, float]) -> list[FindingEvidence]:
    """Return every finding that a model spoke of, by falling attribution; "normal" is none."""
    spoken = [
        (attributions.get(finding.id, 0.0), finding, probabilities)
        for finding in FINDINGS
        if finding.kind is not FindingKind.NORMAL and (probabilities := answers.get_probabilities(finding))
    ]
    ranked = sorted(spoken, key=lambda entry: (-entry[0], -max(entry[2].values()), entry[1].id))
    return [
        FindingEvidence(finding, rank, probabilities, answers.get_thresholds(finding), attribution)
        for rank, (attribution, finding, probabilities) in enumerate(ranked, 1)
    ]
