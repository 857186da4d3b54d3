"""`python -m training.diffusion`: train the demo diffusion detector on phantoms, measure it on others and publish it.

Seeded and resumable: examples, checkpoints and maps stay in the state folder, and the same command goes on from there.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from model_weights.catalogue import ModelEntry
from shared.settings import WeightsProfile
from training.command import make_parser, say
from training.diffusion.batches import Slices
from training.diffusion.card import MAP, PLAIN, REFINED, Classified, Localised, Measured, name_difference, write_card
from training.diffusion.choosing import Choice, Tried, choose_reconstruction, choose_refining, choose_threshold
from training.diffusion.evaluation import measure_findings, measure_slices, measure_studies, score_example
from training.diffusion.examples import Example, Task, draw_findings_in_slices, iterate_examples
from training.diffusion.fitting import fit_classifier, fit_unet
from training.diffusion.localisation import Estimate, Maps, Values, compute_dice, estimate, find_hits
from training.diffusion.mapping import Mapper, MeanSlice, Targets, choose_targets
from training.diffusion.pairs import FindingPairs
from training.diffusion.plan import DiffusionPlan
from training.phantoms import Prevalence, draw_findings
from workers.diffusion.classifier import SliceClassifier
from workers.diffusion.configuration import Architecture
from workers.diffusion.conversion import Configuration, publish_model
from workers.diffusion.loading import make_classifier, make_unet
from workers.diffusion.map_refining import refine
from workers.diffusion.unet import UNet

VERSION = "1"
_VALIDATION_SLICES, _HELD_OUT_SLICES = 2, 3
"""Of each study with lesions."""

_SEED = 0


@dataclass(frozen=True)
class Networks:
    """Both networks, as they are served."""

    unet: UNet
    classifier: SliceClassifier


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure and publish."""
    options = _parse(arguments)
    torch.set_num_threads(options.threads)
    plan = DiffusionPlan(
        seed=options.seed,
        training_studies=options.training_studies,
        validation_studies=options.validation_studies,
        held_out_studies=options.held_out_studies,
    )
    entry = train(plan, options.state, options.catalogue, processes=options.processes)
    say(f"published {entry.name} {entry.version}, digest {entry.digest}")


def train(plan: DiffusionPlan, state: Path, catalogue: Path, *, processes: int) -> ModelEntry:
    """Fit both networks, choose the reconstruction, measure and publish; each part on seeds of its own."""
    state.mkdir(parents=True, exist_ok=True)
    examples = list(_iterate(plan, plan.training_seeds, state, processes, is_located=False))
    networks, seconds = _fit(examples, plan, state, processes)
    measured = _measure(networks, plan, MeanSlice(examples, plan.preprocessing.volume.shape[0]), state, processes)
    took = f"{seconds / 60:.0f} minutes of one core, beside making the phantoms and measuring"
    return _publish(networks, plan, measured, catalogue, took)


def _fit(examples: Sequence[Example], plan: DiffusionPlan, state: Path, processes: int) -> tuple[Networks, float]:
    """Return both networks, and the seconds of CPU that fitting them took."""
    shapes = plan.architecture
    shown = _iterate_for_classifier(plan, plan.classifier_seeds, plan.classifier_prevalence, state, processes)
    classifier = fit_classifier(FindingPairs(list(shown), plan), plan, state, say)
    unet = fit_unet(Slices(examples, plan), plan, state, say)
    # As they are loaded where they are served, which gives other last bits.
    networks = Networks(
        make_unet(shapes.unet, unet.network.state_dict()),
        make_classifier(shapes.classifier, classifier.network.state_dict()),
    )
    return networks, classifier.seconds + unet.seconds


def _measure(networks: Networks, plan: DiffusionPlan, baseline: MeanSlice, state: Path, processes: int) -> Measured:
    pixel_mm = measure_pixel(plan)
    mapper = Mapper(networks.unet, networks.classifier, plan.architecture, state / "maps")
    validation = list(_iterate(plan, plan.validation_seeds, state, processes, is_located=True))
    targets = choose_targets(validation, _VALIDATION_SLICES)
    best, tried = choose_reconstruction(mapper, targets, pixel_mm, say)
    bases = baseline.make_maps(targets)
    refined, plain = choose_refining(bases, targets, pixel_mm), choose_threshold(bases, targets)
    say(f"baseline refined: pointing {refined.hits:.3f}, Dice {refined.dice:.3f}")
    say(f"baseline as it is: pointing {plain.hits:.3f}, Dice {plain.dice:.3f}")
    held_out = list(_iterate(plan, plan.held_out_seeds, state, processes, is_located=True))
    shown = choose_targets(held_out, _HELD_OUT_SLICES)
    bases = baseline.make_maps(shown)
    ways = {
        MAP: (mapper.make_maps(best.candidate, shown), best.choice),
        PLAIN: (bases, plain),
        REFINED: (bases, refined),
    }
    localised = compare(shown, ways, pixel_mm)
    parameters = {
        name: sum(parameter.numel() for parameter in network.parameters())
        for name, network in (("unet", networks.unet), ("classifier", networks.classifier))
    }
    classified = _measure_classifier(networks.classifier, plan, state, processes)
    return Measured(classified, localised, best, tried, parameters)


def _measure_classifier(classifier: SliceClassifier, plan: DiffusionPlan, state: Path, processes: int) -> Classified:
    seeds, prevalence = plan.classifier_held_out_seeds, plan.classifier_held_out_prevalence
    pathological = plan.architecture.process.pathological_class
    examples = _iterate_for_classifier(plan, seeds, prevalence, state, processes)
    scored = [score_example(classifier, example, pathological) for example in examples]
    of_mean, of_largest = measure_studies(scored)
    return Classified(measure_slices(scored), of_mean, of_largest, measure_findings(scored))


def compare(targets: Targets, ways: Mapping[str, tuple[Maps, Choice]], pixel_mm: tuple[float, float]) -> Localised:
    """Return what each map is worth on the same slices, and the paired differences of the first to the others."""
    hits, dice = {}, {}
    for name, (maps, choice) in ways.items():
        refined = refine(maps, targets.images, choice.shape, pixel_mm)
        hits[name] = find_hits(refined, targets.lesions)
        dice[name] = compute_dice(refined, targets.lesions, choice.shape.threshold_hu)

    def tell(values: Mapping[str, Values]) -> dict[str, Estimate]:
        lost = {name_difference(name): values[MAP] - each for name, each in values.items() if name != MAP}
        studies = targets.studies.tolist()
        return {name: estimate(each, studies, _SEED) for name, each in {**values, **lost}.items()}

    return Localised(len(targets.images), len(np.unique(targets.studies)), tell(hits), tell(dice))


def measure_pixel(plan: DiffusionPlan) -> tuple[float, float]:
    """Return the sides of a pixel of a slice along (x, y), in mm."""
    _, x, y = plan.preprocessing.volume.spacing_mm
    scale = min(plan.preprocessing.volume.shape[1:]) / plan.preprocessing.slice_size
    return (x * scale, y * scale)


def _iterate(plan: DiffusionPlan, seeds: range, state: Path, processes: int, *, is_located: bool) -> Iterator[Example]:
    tasks = [Task(seed, draw_findings_in_slices(seed, plan.prevalence), is_located) for seed in seeds]
    return iterate_examples(tasks, plan, state / "examples", processes)


def _iterate_for_classifier(
    plan: DiffusionPlan, seeds: range, prevalence: Prevalence, state: Path, processes: int
) -> Iterator[Example]:
    tasks = [
        Task(
            seed,
            draw_findings(seed, prevalence),
            is_located=True,
            distractor_share=plan.distractor_share,
            contrast_share=plan.contrast_share,
        )
        for seed in seeds
    ]
    return iterate_examples(tasks, plan, state / "examples", processes)


def _publish(networks: Networks, plan: DiffusionPlan, measured: Measured, catalogue: Path, took: str) -> ModelEntry:
    command = f"python -m training.diffusion --seed {plan.seed} --training-studies {plan.training_studies}"
    with TemporaryDirectory(prefix="ctclip-") as folder:
        card = Path(folder, "card.md")
        card.write_text(write_card(plan, measured, command=command, took=took), encoding="utf-8")
        configuration = _configure(plan, measured.best)
        return publish_model(
            networks.unet, networks.classifier, configuration, WeightsProfile.DEMO, catalogue, card=card
        )


def _configure(plan: DiffusionPlan, best: Tried) -> Configuration:
    return Configuration(
        name="diffusion-demo",
        version=VERSION,
        origin="trained by training/diffusion on procedural phantoms of this repository",
        licence="Apache-2.0",
        unet=None,
        architecture=_settle(plan.architecture, best),
        preprocessing=plan.preprocessing,
        thresholds={},
    )


def _settle(architecture: Architecture, best: Tried) -> Architecture:
    return replace(architecture, process=best.candidate.settle(architecture.process), map=best.choice.shape)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    plan = DiffusionPlan()
    parser = make_parser(
        __doc__, plan, ("seed", "training_studies", "validation_studies", "held_out_studies"), "diffusion"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
