"""What the models of a catalogue say of studies, kept on disk.

Other processes take each study once and hand it to every model. Answers stay by what makes the study, the digest of the
model and the number of the study: a model that was trained again is the only one that is asked again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from phantom.study import make_study
from training import phantoms
from training.command import say
from training.evaluation.case import Case, name_findings
from training.evaluation.distribution import Distribution
from training.evaluation.models import label_organs, load_models
from training.evaluation.weights import WeightSet, name_answers
from training.kept_files import keep_document, read_document
from training.phantoms import draw_findings, make_volume
from training.processes import make_ahead
from training.recipe import digest_recipe
from workers.drift.scan import Scan
from workers.intake import resampling
from workers.volume import Volume

_STUDY = "study"
_TOLD_FIRST, _TOLD_EVERY = 5, 50


@dataclass(frozen=True)
class TakenStudy:
    """A study ready to be asked about."""

    volume: Volume
    scan: Scan


def ask_models(
    seeds: Sequence[int],
    distribution: Distribution,
    weights: WeightSet,
    folder: Path,
    *,
    processes: int,
) -> list[Case]:
    """Let every model of the weights answer the phantoms of the seeds. Answers are kept in `folder`.

    Models that read masks get those of the segmenter of the weights. The phantom's own organs, with errors drawn into
    them, would take a third of the time, but a fusion that was fitted to them trusted fVLM: of 20 leading findings 14
    were wrong.
    """
    folder = folder / compute_recipe_digest(distribution)
    lacking = [str(seed) for seed in seeds if not is_answered(folder, str(seed), weights)]
    make = partial(_make_phantom, distribution=distribution)
    ask_ahead(lacking, partial(answer, make=make, weights=weights, folder=folder), processes)
    return [_read_phantom(folder, seed, distribution, weights) for seed in seeds]


def compute_recipe_digest(distribution: Distribution) -> str:
    """Return a short digest of everything but the seed that makes a study: sources and distribution.

    How a model answers is in its own digest; that its code still does is for known answers and golden vectors to say.
    """
    return digest_recipe(distribution.describe_drawing(), phantoms.__file__, resampling.__file__)


def ask_ahead(keys: Sequence[str], ask: Callable[[str], None], processes: int) -> None:
    """Ask about each study that is not answered yet, in other processes, and tell how far it is."""
    started = time.monotonic()
    for count, _ in enumerate(make_ahead(ask, keys, processes) if keys else (), 1):
        if count % _TOLD_EVERY == 0 or count in {_TOLD_FIRST, len(keys)}:
            taken_s = time.monotonic() - started
            left_s = taken_s / count * (len(keys) - count)
            say(f"{count} of {len(keys)} studies answered, {taken_s:.0f} s; about {left_s:.0f} s more")


def answer(key: str, make: Callable[[str], TakenStudy], weights: WeightSet, folder: Path) -> None:
    """Take one study and keep what the models say that have not answered it yet, each with its seconds."""
    clock = _Clock()
    models = {name_answers(model.entry, weights): model for model in load_models(weights)}
    lacking = {name: model for name, model in models.items() if not _locate(folder, name, key).exists()}
    clock.stop()
    study = make(key)
    told, place = {"scan": study.scan.to_document(), "seconds": clock.stop()}, _locate(folder, _STUDY, key)
    if not place.exists():
        keep_document(place, told)
    for name, model in lacking.items():
        features = dict(model.ask(study.volume, partial(label_organs, study.volume, weights)))
        keep_document(_locate(folder, name, key), {"features": features, "seconds": clock.stop()})


def is_answered(folder: Path, key: str, weights: WeightSet) -> bool:
    """Whether everything that is wanted of a study is kept."""
    return all(_locate(folder, name, key).exists() for name in (_STUDY, *_list_names(weights)))


def read_answers(folder: Path, key: str, weights: WeightSet) -> tuple[dict[str, float], Scan, float]:
    """Return the kept features of a study, how it was scanned, and the seconds that it took."""
    study = read_document(_locate(folder, _STUDY, key))
    answers = [read_document(_locate(folder, name, key)) for name in _list_names(weights)]
    features = {feature: value for each in answers for feature, value in each["features"].items()}
    seconds = sum(each["seconds"] for each in (study, *answers))
    return features, Scan.from_document(study["scan"]), seconds


class _Clock:
    def __init__(self) -> None:
        self._last = time.monotonic()

    def stop(self) -> float:
        """Return the seconds since the last stop."""
        last, self._last = self._last, time.monotonic()
        return self._last - last


def _make_phantom(key: str, distribution: Distribution) -> TakenStudy:
    seed = int(key)
    findings = draw_findings(seed, distribution.prevalence)
    study = make_study(seed, findings, distribution.draw_scanner(seed).settings)
    facts = {
        "manufacturer": study.manufacturer,
        "kernel": [study.kernel],
        "slice_thickness_mm": study.slice_thickness_mm,
    }
    return TakenStudy(make_volume(study), Scan.from_facts(facts))


def _read_phantom(folder: Path, seed: int, distribution: Distribution, weights: WeightSet) -> Case:
    features, scan, seconds = read_answers(folder, str(seed), weights)
    truth = name_findings(draw_findings(seed, distribution.prevalence))
    return Case(
        number=seed,
        features=features,
        truth=truth,
        is_pathological=bool(truth),
        scan=scan,
        setting=distribution.draw_scanner(seed).name,
        seconds=seconds,
    )


def _list_names(weights: WeightSet) -> list[str]:
    return [name_answers(entry, weights) for entry in weights.models]


def _locate(folder: Path, name: str, key: str) -> Path:
    return folder / name / f"{key}.json"
