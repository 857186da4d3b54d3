"""Reasons in words: why a candidate won or lost."""

from __future__ import annotations

from collections.abc import Sequence

from workers.intake.choice.candidate import Candidate
from workers.intake.choice.policy import CHOICE_POLICY
from workers.intake.report import CandidateReport

_MOST_TOLD = 1000


def explain_choice(candidates: Sequence[Candidate], chosen: Candidate, *, is_forced: bool) -> None:
    """Give every candidate its reason, the chosen one among them."""
    for candidate in candidates:
        if candidate is not chosen:
            is_other = is_forced and candidate.stack.series_uid != chosen.stack.series_uid
            candidate.reason = describe_loss(candidate, chosen, is_forced=is_other)
    chosen.reason = "asked for by series_instance_uid" if is_forced else _describe_win(candidates, chosen)


def describe_loss(candidate: Candidate, chosen: Candidate | None = None, *, is_forced: bool = False) -> str:
    """Return why a candidate was not read."""
    if candidate.problem is not None:
        return f"{candidate.problem.code}: {candidate.problem.detail}"
    if is_forced:
        return "another series was asked for by series_instance_uid"
    if chosen is None:
        return "not tried: the better candidates were refused"
    worse = _compare(chosen, candidate)
    if not worse:
        return "equal score; lost the tie-break (more slices, smaller spacing, SeriesInstanceUID)"
    return f"score {candidate.score:.3f} against {chosen.score:.3f}; weaker in {', '.join(worse)}"


def _describe_win(candidates: Sequence[Candidate], chosen: Candidate) -> str:
    rivals = [candidate for candidate in candidates if candidate is not chosen and candidate.problem is None]
    if not rivals:
        return "the only axial series with lungs" if len(candidates) > 1 else "the only series"
    better = _compare(chosen, rivals[0])
    lead = f"; ahead of the next in {', '.join(better)}" if better else "; won the tie-break"
    return f"best score, {chosen.score:.3f} of {len(rivals) + 1} candidates{lead}"


def _compare(winner: Candidate, loser: Candidate) -> list[str]:
    """Return the criteria in which the winner is better, the weightiest first."""
    weights = CHOICE_POLICY.weights
    leads = {name: weight * (winner.criteria[name] - loser.criteria[name]) for name, weight in weights.items()}
    return [name for name, lead in sorted(leads.items(), key=lambda item: -item[1]) if lead > 1e-6][:3]


def describe_candidates(candidates: Sequence[Candidate]) -> tuple[CandidateReport, ...]:
    """Return the candidates for the report, the chosen one first, then as ranked; no study has as many as the limit."""
    ordered = sorted(candidates, key=lambda candidate: not candidate.is_chosen)[:_MOST_TOLD]
    return tuple(
        CandidateReport(
            series_instance_uid=candidate.stack.series_uid,
            is_chosen=candidate.is_chosen,
            score=candidate.score,
            criteria=dict(candidate.criteria),
            facts=candidate.describe(),
            reason=candidate.reason,
        )
        for candidate in ordered
    )
