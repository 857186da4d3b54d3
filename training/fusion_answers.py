"""What the installed demo models say of phantoms, by the code that serves them.

Other processes make each study once, from its seed, and hand it to every model. Answers stay on disk by the recipe of
the studies, the digest of the model and the seed: a model that was trained again is the only one that is asked again.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import import_module
from inspect import getsource
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from model_weights.catalogue import ModelEntry, load_catalogue
from phantom.study import PhantomSettings, make_study
from shared.errors import InputProblem
from shared.settings import WeightsProfile
from shared.stages import MODELS
from training import phantoms
from training.examples import FINE_SHARE, draw_settings
from training.fusion_evaluation import Case
from training.fusion_masks import find_segmenter, label_organs, reads_masks
from training.fusion_plan import find_policy
from training.phantoms import Prevalence, draw_findings, make_volume
from training.processes import make_ahead
from training.recipe import digest_recipe
from workers.model_stage import AnyModel, MaskedModel, NameFeatures, Question
from workers.runtime.registry import STAGE_MODULES
from workers.volume import Volume
from workers.volume.label_map import Labels

_TOLD_EVERY = 100


@dataclass(frozen=True)
class Origin:
    """Where studies come from: how findings are drawn, and the scanner; without one the seed draws a grid."""

    prevalence: Prevalence
    scanner: PhantomSettings | None = None


@dataclass(frozen=True)
class AskedModel:
    """A loaded model with the names of what it gives."""

    entry: ModelEntry
    model: AnyModel
    name_features: NameFeatures

    def ask(self, volume: Volume, label: Callable[[], Labels]) -> Mapping[str, float]:
        """Return the features that a job would keep: none where the model refuses the study, none that is unknown."""
        try:
            features = self._ask(volume, label)
        except InputProblem:
            return {}
        return {name: value for name, value in features.items() if not math.isnan(value)}

    def _ask(self, volume: Volume, label: Callable[[], Labels]) -> Mapping[str, float]:
        depth, height, width = volume.hu.shape
        if isinstance(self.model, MaskedModel):
            prepared = self.model.prepare_masked(volume, label())
        else:
            prepared = self.model.prepare(volume)
        with TemporaryDirectory(prefix="ctclip-") as scratch:
            question = Question(volume.geometry, (depth, height, width), find_policy().to_document(), Path(scratch))
            answer = self.model.answer(prepared, question)
        return self.name_features(self.entry.labels, answer.probabilities)


def find_models(catalogue: Path) -> tuple[ModelEntry, ...]:
    """Return the demo models that this version can ask, in the order of `MODELS`. Raises LookupError without any."""
    installed = {
        entry.stage: entry for entry in load_catalogue(catalogue) if entry.weights_profile is WeightsProfile.DEMO
    }
    found = (installed[stage] for stage in MODELS if stage in installed and stage in STAGE_MODULES)
    models = tuple(entry for entry in found if not reads_masks(entry) or find_segmenter(catalogue) is not None)
    if not models:
        raise LookupError("the catalogue has no demo model: train one first, as with `python -m training.mednext`")
    return models


def ask_models(seeds: Sequence[int], origin: Origin, catalogue: Path, folder: Path, *, processes: int) -> list[Case]:
    """Let every demo model of the catalogue answer the studies of the seeds. Answers are kept in `folder`."""
    folder = folder / compute_recipe_digest(origin)
    names = [_name_answers(entry, catalogue) for entry in find_models(catalogue)]
    lacking = [seed for seed in seeds if not all(_locate(folder, name, seed).exists() for name in names)]
    if lacking:
        _answer_all(lacking, partial(_answer_seed, origin=origin, catalogue=catalogue, folder=folder), processes)
    return [Case(seed, _read_features(folder, names, seed), draw_findings(seed, origin.prevalence)) for seed in seeds]


def compute_recipe_digest(origin: Origin) -> str:
    """Return a short digest of everything but the seed that makes a study: sources and origin.

    How a model answers is in its own digest; that its code still does is for known answers and golden vectors to say.
    """
    return digest_recipe(f"{origin} {FINE_SHARE} {getsource(draw_settings)}", phantoms.__file__)


def _answer_all(seeds: Sequence[int], answer: Callable[[int], None], processes: int) -> None:
    started = time.monotonic()
    for count, _ in enumerate(make_ahead(answer, seeds, processes), 1):
        if count % _TOLD_EVERY == 0 or count == len(seeds):
            sys.stderr.write(f"{count} of {len(seeds)} studies answered, {time.monotonic() - started:.0f} s\n")


def _answer_seed(seed: int, origin: Origin, catalogue: Path, folder: Path) -> None:
    """Make the study of a seed and keep what the models say that have not answered it yet."""
    models = {_name_answers(model.entry, catalogue): model for model in _load_models(catalogue)}
    lacking = {name: model for name, model in models.items() if not _locate(folder, name, seed).exists()}
    study = make_study(seed, draw_findings(seed, origin.prevalence), origin.scanner or draw_settings(seed))
    volume = make_volume(study)
    for name, model in lacking.items():
        _keep(_locate(folder, name, seed), model.ask(volume, partial(label_organs, volume, catalogue)))


@cache
def _load_models(catalogue: Path) -> Sequence[AskedModel]:
    """Return the models, loaded once for each process."""
    return [_load_model(entry) for entry in find_models(catalogue)]


def _load_model(entry: ModelEntry) -> AskedModel:
    """Load a model as its stage does: every model package has a `Predictor` and names its features."""
    package = STAGE_MODULES[entry.stage].rpartition(".")[0]
    load = import_module(f"{package}.predictor").Predictor
    return AskedModel(entry, load(entry, torch.device("cpu")), import_module(f"{package}.features").name_features)


def _name_answers(entry: ModelEntry, catalogue: Path) -> str:
    """Return what names the answers of a model: its digest, and that of the segmentation whose masks it reads."""
    segmenter = find_segmenter(catalogue) if reads_masks(entry) else None
    # Thresholds say what an answer means and do not change it.
    digests = [each.digest for each in (replace(entry, thresholds={}), segmenter) if each is not None]
    return "-".join([str(entry.stage), *(digest[:12] for digest in digests)])


def _locate(folder: Path, name: str, seed: int) -> Path:
    return folder / name / f"{seed}.json"


def _keep(path: Path, features: Mapping[str, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(dict(features)), encoding="utf-8")
    draft.replace(path)


def _read_features(folder: Path, names: Iterable[str], seed: int) -> dict[str, float]:
    return {
        feature: value
        for name in names
        for feature, value in json.loads(_locate(folder, name, seed).read_text(encoding="utf-8")).items()
    }
