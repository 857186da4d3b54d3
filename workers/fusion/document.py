"""The result document, as `shared/result.schema.json` describes it. Pure; no number in it is ever NaN."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from model_weights.catalogue import ModelEntry
from model_weights.policies import Policy
from shared.artefacts import ArtefactKind
from shared.notices import NoticeCode
from shared.settings import WeightsProfile
from shared.stages import MODELS, SkipReason, StageName
from shared.states import JobState, StageState
from shared.tables import Document
from workers.fusion.answers import Answers
from workers.fusion.attribution import Attribution
from workers.fusion.decision import Decision, FindingEvidence
from workers.fusion.omission import Omission
from workers.runtime.stage import ArtefactRecord, StageRecord, StageWarning

SCHEMA_VERSION = "1.0"

DISCLAIMERS: Mapping[WeightsProfile, str] = {
    WeightsProfile.DEMO: (
        "Demonstration weights, trained on computed phantoms and not on patients. Not for clinical use: "
        "nothing is claimed for any patient."
    ),
    WeightsProfile.FULL: (
        "Research use only. Not a medical device and no substitute for a physician's reading of the study."
    ),
}

NO_FINDING_WITH_EVIDENCE = "no_finding_with_evidence"
"""Class 1 although no finding both raised the score and reached the threshold of its evidence."""

NO_MODEL_ANSWERED = "no_model_answered"
"""The probability is only the base rate of the training, which the policy allowed."""


@dataclass(frozen=True)
class Reading:
    """Everything that one result is written from."""

    job_id: str
    elapsed_s: float
    fusion_s: float
    records: Mapping[StageName, StageRecord]
    artefacts: Sequence[ArtefactRecord]
    answers: Answers
    attribution: Attribution
    decision: Decision
    omissions: Mapping[StageName, Omission]
    policy: Policy
    model: ModelEntry
    warnings: Sequence[StageWarning] = ()


def make_document(reading: Reading) -> Document:
    """Return the result as JSON."""
    intake = reading.records[StageName.INTAKE].facts
    return {
        **_make_contract(reading, intake),
        "schema_version": SCHEMA_VERSION,
        "job_id": reading.job_id,
        "state": str(_judge_state(reading.answers)),
        "completeness": _make_completeness(reading.answers),
        "threshold": reading.policy.threshold,
        "policy_id": reading.policy.id,
        "weights_profile": str(reading.model.weights_profile),
        "disclaimer": DISCLAIMERS[reading.model.weights_profile],
        "top_pathologies": [evidence.finding.name for evidence in reading.decision.top],
        "findings": [_make_finding(evidence, reading.answers) for evidence in reading.decision.findings],
        "site_findings": _list_site_findings(reading.records),
        "anomaly": _make_anomaly(reading.records),
        "organs": _make_organs(reading.records),
        "attribution": _make_attribution(reading),
        "without_model": _make_omissions(reading.omissions),
        "series": intake["series"],
        "quality": _list_quality(reading),
        "models": [*_list_models(reading.answers), _describe_fusion(reading)],
        "timings": _make_timings(reading),
        "artifacts": [_make_artifact(reading.job_id, artefact) for artefact in _list_offered(reading.artefacts)],
    }


def _make_contract(reading: Reading, intake: Mapping[str, Any]) -> Document:
    """Return the seven fields that callers of the predecessor rely on."""
    return {
        "study_uid": intake["study_uid"],
        "series_uid": intake["series_uid"],
        "probability_of_pathology": reading.decision.probability,
        "pathology": int(reading.decision.is_pathological),
        "most_dangerous_pathology_type": reading.decision.leading,
        "processing_status": "Success",
        "time_of_processing": reading.elapsed_s,
    }


def _judge_state(answers: Answers) -> JobState:
    """Return the state that the job takes when this result is published; the runtime judges by the same number."""
    return JobState.COMPLETED if len(answers.answered) == len(MODELS) else JobState.COMPLETED_PARTIAL


def _make_completeness(answers: Answers) -> Document:
    return {
        "answered": len(answers.answered),
        "expected": len(MODELS),
        "missing": [{"model": str(missing.model), "reason": missing.reason} for missing in answers.missing],
    }


def _make_finding(evidence: FindingEvidence, answers: Answers) -> Document:
    finding = evidence.finding
    return {
        "finding": finding.id,
        "name": finding.name,
        "name_ru": finding.name_ru,
        "organ": finding.organ,
        "codes": [asdict(code) for code in finding.codes],
        "rank": evidence.rank,
        "models": {str(model): probability for model, probability in evidence.probabilities.items()},
        "thresholds": {str(model): threshold for model, threshold in evidence.thresholds.items()},
        "attribution": evidence.attribution,
        "above_threshold": evidence.is_above_threshold,
        "relevance": {str(model): told for model, told in answers.get_relevance(finding).items()},
    }


def _list_site_findings(records: Mapping[StageName, StageRecord]) -> list[Document]:
    """Return what the zero-shot model said of the findings of the site's policy: shown, never weighed."""
    record = records.get(StageName.CT_CLIP)
    return [] if record is None else list(cast("Sequence[Document]", record.facts.get("site_findings", ())))


def _make_anomaly(records: Mapping[StageName, StageRecord]) -> Document | None:
    """Return what the anomaly diffusion said of slices and places; None where it did not answer."""
    record = records.get(StageName.DIFFUSION)
    parts = ("slices", "reconstruction")
    if record is None or not all(part in record.facts for part in parts):
        return None
    return {part: record.facts[part] for part in parts}


def _make_organs(records: Mapping[StageName, StageRecord]) -> Document | None:
    """Return what the masks say of each organ; None where there are none."""
    record = records.get(StageName.SEGMENTATION)
    parts = ("segmenter", "lungs", "truncated", "absent")
    if record is None or record.state != StageState.SUCCEEDED or "organs" not in record.facts:
        return None
    weights = {part: record.facts[part] for part in ("name", "version", "digest")}
    return {"present": record.facts["organs"], **{part: record.facts[part] for part in parts}, "weights": weights}


def _make_attribution(reading: Reading) -> Document:
    attribution, line = reading.attribution, reading.attribution.calibration
    of_findings = (evidence.attribution for evidence in reading.decision.findings)
    return {
        "base_value": attribution.base_value,
        "by_model": {str(model): value for model, value in attribution.by_model.items()},
        "by_group": {str(group): value for group, value in attribution.by_group.items()},
        "beyond_findings": attribution.raw_score - math.fsum((attribution.base_value, *of_findings)),
        "raw_score": attribution.raw_score,
        "calibration": None if line is None else {"slope": line.slope, "intercept": line.intercept},
    }


def _make_omissions(omissions: Mapping[StageName, Omission]) -> Document:
    """Return what the answer would be without each model that gave it."""
    return {
        str(model): {
            "probability_of_pathology": omission.probability,
            "pathology": int(omission.is_pathological),
            "is_allowed": omission.is_allowed,
        }
        for model, omission in omissions.items()
    }


def _list_quality(reading: Reading) -> list[Document]:
    warnings = [(record.name, warning) for record in reading.records.values() for warning in record.warnings]
    own = [*map(StageWarning, _judge(reading)), *_tell_paused(reading.records), *reading.warnings]
    return [
        {"code": str(warning.code), "stage": str(stage), "facts": dict(warning.facts)}
        for stage, warning in [*warnings, *((StageName.FUSION, warning) for warning in own)]
    ]


def _judge(reading: Reading) -> list[str]:
    codes = []
    if not reading.answers.answered:
        codes.append(NO_MODEL_ANSWERED)
    if reading.decision.is_pathological and not reading.decision.top:
        codes.append(NO_FINDING_WITH_EVIDENCE)
    return codes


def _tell_paused(records: Mapping[StageName, StageRecord]) -> list[StageWarning]:
    """Return the banner of a result that was made while models were paused."""
    paused = [str(name) for name, record in records.items() if record.reason == SkipReason.MODEL_PAUSED]
    return [StageWarning(NoticeCode.MODELS_PAUSED, {"models": paused})] if paused else []


def _list_models(answers: Answers) -> list[Document]:
    return [
        {
            "name": str(model),
            "weights": record.facts["name"],
            "version": record.facts["version"],
            "digest": record.facts["digest"],
            "seconds": record.seconds,
            "reused_from": record.reused_from,
        }
        for model, record in answers.shown.items()
    ]


def _describe_fusion(reading: Reading) -> Document:
    model = reading.model
    return {
        "name": str(StageName.FUSION),
        "weights": model.name,
        "version": model.version,
        "digest": model.digest,
        "seconds": reading.fusion_s,
    }


def _make_timings(reading: Reading) -> Document:
    """Return per stage that ran its whole time and, where it told them, the times of its steps."""
    stages = {
        str(name): {"total_s": record.seconds, **_get_steps(record)}
        for name, record in reading.records.items()
        if record.state == StageState.SUCCEEDED and record.reused_from is None
    }
    return {**stages, str(StageName.FUSION): {"total_s": reading.fusion_s}}


def _get_steps(record: StageRecord) -> dict[str, Any]:
    """Return the times of a stage's steps; their names end in `_s`, as all durations do."""
    steps = record.facts.get("timings", {})
    if not isinstance(steps, Mapping):
        return {}
    return {name if name.endswith("_s") else f"{name}_s": seconds for name, seconds in steps.items()}


def _list_offered(artefacts: Sequence[ArtefactRecord]) -> list[ArtefactRecord]:
    return [artefact for artefact in artefacts if artefact.kind is not ArtefactKind.UPLOAD]


def _make_artifact(job_id: str, artefact: ArtefactRecord) -> Document:
    return {
        "name": str(artefact.kind),
        "media_type": artefact.media_type,
        "size_bytes": artefact.size_bytes,
        "sha256": artefact.sha256,
        "href": f"/v1/jobs/{job_id}/artifacts/{artefact.kind}",
    }
