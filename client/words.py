"""Names of stages, states and reasons as people read them; what is not listed is shown as it came."""

from __future__ import annotations

from collections.abc import Mapping

STAGES: Mapping[str, str] = {
    "intake": "Reading the study",
    "ct_clip": "CT-CLIP",
    "supervised": "Supervised",
    "mednext": "MedNeXt",
    "diffusion": "Anomaly diffusion",
    "segmentation": "Segmentation",
    "fvlm": "fVLM",
    "fusion": "Fusion",
    "delivery": "Delivery",
}

_REASONS: Mapping[str, str] = {
    "model_not_installed": "not installed",
    "model_not_requested": "not asked for",
    "model_paused": "paused by the operator",
    "needed_stage_missing": "needs a stage that is missing",
    "no_callback": "no webhook",
    "validate_only": "only validated",
}


ADVICE: Mapping[str, str] = {
    "job_not_found": "Check the id and the address (--api-url): `ctclip submit` prints the id of every job it makes.",
    "job_not_finished": "Follow it with `ctclip watch JOB`, then ask again.",
    "authentication_required": "Give an API key: --api-key KEY, or CTCLIP_API_KEY in the environment.",
    "credentials_invalid": "Check --api-key or CTCLIP_API_KEY: the key may be mistyped, revoked or past its end.",
    "validation_failed": "`ctclip COMMAND --help` lists what each command takes.",
    "job_has_no_result": "`ctclip watch JOB` says why: it was refused, or only validated. Submit it again.",
}
"""What to do about a refusal, by its code, for whoever sits at the command line."""


def name_stage(stage: str) -> str:
    """Return the name of a stage or model."""
    return STAGES.get(stage, stage)


def explain_reason(reason: str | None) -> str:
    """Return why a stage did not run."""
    return _REASONS.get(reason, reason.replace("_", " ")) if reason else ""
