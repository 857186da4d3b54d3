"""Weights: as the catalogue pins them, and a fusion that was trained with the models that are installed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from sqlalchemy import Engine, select

from deploy.doctor.finding import Finding, broken, fine, odd
from model_weights.catalogue import ModelEntry, list_installed
from model_weights.verifying import read_description, verify
from shared.database import transaction
from shared.errors import Defect
from shared.settings import Settings, WeightsProfile
from shared.stages import MODELS, STAGES, StageName
from shared.tables import ModelVersion
from workers.fusion.booster import load_booster

_AGAIN = "Install the weights again: make setup for the demo weights, ctclip models convert for imported ones."
_TRAIN: Mapping[WeightsProfile, str] = {
    WeightsProfile.DEMO: "Train it anew: python -m training.fusion",
    WeightsProfile.FULL: "Train one on labelled studies: python -m training.site_fusion",
}


def look_at_weights(settings: Settings) -> Iterator[Finding]:
    """Yield what was found about the weights on this machine."""
    if settings.weights_profile is WeightsProfile.NONE:
        yield odd("installed", "The profile is `none`: nothing is read.", "Set CTCLIP_WEIGHTS_PROFILE.")
        return
    try:
        entries = {entry.stage: entry for entry in list_installed(settings)}
    except Defect as defect:
        yield broken("installed", f"{_begin(defect)}.", _AGAIN)
        return
    yield _look_at_models(entries, settings.weights_profile)
    yield _look_at_digests(list(entries.values()))
    yield from _look_at_fusion(entries)


def look_at_registration(engine: Engine, settings: Settings) -> Iterator[Finding]:
    """Yield whether the database plans jobs with the weights of this machine. Raises TransientFault."""
    try:
        here = {entry.stage: entry.digest for entry in list_installed(settings)}
    except Defect:
        return  # told already
    with transaction(engine) as session:
        rows = session.execute(select(ModelVersion.stage, ModelVersion.digest).where(ModelVersion.is_active))
        planned: Mapping[StageName, str] = {stage: digest for stage, digest in rows}  # noqa: C416
    differing = sorted(stage for stage in here.keys() | planned.keys() if here.get(stage) != planned.get(stage))
    if differing:
        told = f"Jobs are planned with other weights than lie here, for {', '.join(differing)}."
        yield odd("registered", told, "Restart control, then the workers; look at CTCLIP_WEIGHTS_PROFILE of each.")
    else:
        yield fine("registered", f"Jobs are planned with the {len(here)} sets of weights that lie here.")


def _look_at_models(entries: Collection[StageName], profile: WeightsProfile) -> Finding:
    missing = [str(model) for model in MODELS if model not in entries]
    if StageName.FUSION not in entries:
        return broken("installed", "No fusion is installed: no job can have a result.", _advise(profile))
    if missing:
        return odd("installed", f"Not installed: {', '.join(missing)}. Results are partial and say so.", _AGAIN)
    return fine("installed", f"All {len(MODELS)} models and the fusion are installed.")


def _look_at_digests(entries: Sequence[ModelEntry]) -> Finding:
    faults = [f"{entry.name}: {fault}" for entry in entries for fault in _find_faults(entry)]
    if faults:
        return broken("digests", f"{_begin(faults[0])}.", _AGAIN, files=len(faults))
    files = sum(len(entry.files) for entry in entries)
    return fine("digests", f"{files} files are those that the catalogue pins.", files=files)


def _find_faults(entry: ModelEntry) -> Iterator[Defect]:
    for file in entry.files.values():
        try:
            verify(file)
        except Defect as defect:
            yield defect


def _look_at_fusion(entries: Mapping[StageName, ModelEntry]) -> Iterator[Finding]:
    entry = entries.get(StageName.FUSION)
    if entry is None:
        return
    try:
        load_booster(entry)
        trained = _read_trained_with(entry)
    except Defect as defect:
        yield broken("fusion", f"The fusion cannot serve: {defect}.", _advise(entry.weights_profile))
        return
    strangers = list(_iterate_strangers(entries, trained))
    if strangers:
        told = f"The fusion was not trained with the installed weights of {', '.join(strangers)}."
        advice = f"{_advise(entry.weights_profile)} Until then it was not measured so."
        yield odd("fusion", told, advice, models=len(strangers))
    else:
        yield fine("fusion", "The fusion gives its known answers and was trained with the installed models.")


def _iterate_strangers(entries: Mapping[StageName, ModelEntry], trained: Mapping[str, object]) -> Iterator[str]:
    """Yield the models that run here, and the segmentation where it was told, that the fusion does not know."""
    compared = (*MODELS, StageName.SEGMENTATION) if StageName.SEGMENTATION in trained else MODELS
    for stage in compared:
        if _can_run(stage, entries) and trained.get(stage) != entries[stage].digest:
            yield str(stage)


def _can_run(stage: StageName, entries: Collection[StageName]) -> bool:
    """Whether a stage is installed, and the segmentation too where it reads masks."""
    reads_masks = StageName.SEGMENTATION in STAGES[stage].needs
    return stage in entries and (not reads_masks or StageName.SEGMENTATION in entries)


def _advise(profile: WeightsProfile) -> str:
    return f"{_TRAIN.get(profile, _AGAIN)} (docs/training.md)."


def _read_trained_with(entry: ModelEntry) -> Mapping[str, object]:
    """Return the digests of the models that a fusion was trained with; empty where it does not say."""
    training = read_description(entry.get_file("description")).get("training")
    models = training.get("models") if isinstance(training, dict) else None
    return models if isinstance(models, dict) else {}


def _begin(fault: object) -> str:
    """Return a message as a sentence begins."""
    text = str(fault)
    return text[:1].upper() + text[1:]
