"""The diffusion detector beside reference vectors: both networks, the process, whole trajectories, slices, layouts.

The process is compared with the predecessor's offset of levels, with which the vectors were made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file as load_tensors
from torch import Tensor

from model_weights.matching import Shape
from shared.errors import Defect
from workers.diffusion.classifier import SliceClassifier
from workers.diffusion.configuration import Architecture, list_slices
from workers.diffusion.features import LABELS, name_features, summarise
from workers.diffusion.loading import make_classifier, make_unet
from workers.diffusion.process import PREDECESSOR_OFFSET, Process
from workers.diffusion.published import describe_classifier_layout, describe_unet_layout, read_classifier, read_unet
from workers.diffusion.reconstruction import measure_errors
from workers.diffusion.schedule import Stop, list_repeated_times, plan_decoding, plan_encoding, plan_repeated_decoding
from workers.diffusion.scoring import score_slices
from workers.diffusion.slices import choose_evenly, take_slices
from workers.diffusion.unet import UNet
from workers.parity import ParityCheck
from workers.tensor_parity import compare

TOLERANCE = 1e-4
SCHEDULE_TOLERANCE = 1e-12
TRAJECTORY_TOLERANCE = 1e-3
SLICE_TOLERANCE = 1e-6

_OF_PROCESS = {"noise_level": "noise_level", "classifier_scale": "classifier_scale", "healthy_class": "target_class"}
"""Our field -> the vectors' field."""


class _Golden:
    """The tiny set of a golden folder: its configuration, its vectors, and our networks with its weights."""

    def __init__(self, folder: Path) -> None:
        self.table: Mapping[str, Any] = json.loads((folder / "tiny_config.json").read_text())
        self.vectors = load_tensors(folder / "tiny_io.safetensors")
        architecture = read_architecture(self.table)
        weights = load_tensors(folder / "tiny_weights.safetensors")
        self.unet = make_unet(architecture.unet, read_unet(architecture.unet, _select(weights, "unet")))
        self.classifier = make_classifier(
            architecture.classifier, read_classifier(architecture.classifier, _select(weights, "classifier"))
        )
        self.process = Process(self.unet, self.classifier, architecture.process, level_offset=PREDECESSOR_OFFSET)

    @property
    def times(self) -> Sequence[int]:
        """Times at which networks and process are compared."""
        return [int(time) for time in self.table["timesteps"]]

    def compare(self, name: str, found: Tensor, tolerance: float = TOLERANCE) -> ParityCheck:
        """Compare with the vector of this name."""
        return compare(name, found, self.vectors[name], tolerance)


def check_parity(golden: Path) -> Sequence[ParityCheck]:
    """Run the real code on a golden folder; geometry, noise level, scale and times are read from it."""
    sections: Mapping[str, Callable[[Path], Iterator[ParityCheck]]] = {
        "tiny_io.safetensors": _check_tiny,
        "slice_golden.json": _check_slices,
        "full_state_dict.json": _check_layouts,
    }
    # The tiny set is what makes a folder golden; the rest may be left out of a smaller one.
    present = [name for name in sections if name == "tiny_io.safetensors" or (golden / name).exists()]
    # Not inference mode: gradients do not flow through weights that were read in it.
    with torch.no_grad():
        return [check for name in present for check in sections[name](golden)]


def read_architecture(table: Mapping[str, Any]) -> Architecture:
    """Return both networks and the process of a golden configuration. Raises Defect for another schedule than ours."""
    if table["beta_schedule"] != "linear":
        raise Defect(f"the schedule of the vectors is {table['beta_schedule']!r}; only a linear one is known")
    process = {ours: table[theirs] for ours, theirs in _OF_PROCESS.items()}
    classes = {"pathological_class": 1 - table["target_class"], "diffusion_steps": table["diffusion_steps"]}
    return Architecture.from_table(
        {"unet": table["unet"], "classifier": table["classifier"], "process": {**process, **classes}}
    )


def _check_tiny(folder: Path) -> Iterator[ParityCheck]:
    golden = _Golden(folder)
    yield from _check_schedule(golden)
    for time in golden.times:
        yield from _check_networks(golden, time)
        yield from _check_process(golden, time)
    yield from _check_blocks(golden)
    yield from _check_scores(golden)
    yield from _check_single_steps(golden)
    yield from _check_trajectories(golden)


def _check_schedule(golden: _Golden) -> Iterator[ParityCheck]:
    schedule = golden.process.schedule
    tables = {
        "alphas_cumprod": schedule.levels,
        "betas": schedule.betas,
        "posterior_log_variance_clipped": schedule.log_posterior_variances,
    }
    for name, table in tables.items():
        yield golden.compare(f"schedule/{name}", torch.from_numpy(table), SCHEDULE_TOLERANCE)


def _check_networks(golden: _Golden, time: int) -> Iterator[ParityCheck]:
    images, times = golden.vectors["images"], torch.tensor([time])
    healthy, other = torch.tensor([0]), torch.tensor([1])
    noise, variance_value = golden.unet(images, times, healthy)
    yield golden.compare(f"unet/t{time}/eps", noise)
    yield golden.compare(f"unet/t{time}/variance_value", variance_value)
    yield golden.compare(f"unet/t{time}/eps_y1", golden.unet(images, times, other)[0])
    yield golden.compare(f"classifier/t{time}/logits", golden.classifier(images, times))
    yield golden.compare(f"classifier/t{time}/gradient_y0", golden.process.compute_gradient(images, time))


def _check_process(golden: _Golden, time: int) -> Iterator[ParityCheck]:
    """Compare what the process makes of the reference's noise and variance, and of our own noise.

    Near the last time the image is the noise times 157: what is rounding of the network becomes 2e-4 there, between two
    processors as well. So the process is compared by itself, and its chain with the network at as many times 1e-4.
    """
    images, process = golden.vectors["images"], golden.process
    noise, variance_value = (golden.vectors[f"unet/t{time}/{name}"] for name in ("eps", "variance_value"))
    image = process.remove_noise(images, noise, time)
    mean, log_variance = process.compute_posterior(images, time, image, variance_value)
    yield golden.compare(f"process/t{time}/pred_xstart", image)
    yield golden.compare(f"process/t{time}/mean", mean)
    yield golden.compare(f"process/t{time}/log_variance", log_variance)
    tolerance = TOLERANCE * max(1.0, process.measure_amplification(time))
    expected = golden.vectors[f"process/t{time}/pred_xstart"]
    yield compare(f"chain/t{time}/pred_xstart", process.predict(images, time), expected, tolerance)


def _check_blocks(golden: _Golden) -> Iterator[ParityCheck]:
    """Compare the embedding of the time and what each step of both encoders returns, at the time that has them."""
    images = golden.vectors["images"]
    networks: Mapping[str, UNet | SliceClassifier] = {"unet": golden.unet, "classifier": golden.classifier}
    for name, network in networks.items():
        (time,) = {int(found[1]) for key in golden.vectors if (found := re.match(rf"{name}/t(\d+)/middle$", key))}
        embedding = network.time_embedding(torch.tensor([time]))
        key = f"{name}/t{time}/time_embedding"
        if key in golden.vectors:
            yield golden.compare(key, embedding.expand(len(images), -1))
        if isinstance(network, UNet):
            embedding = network.embed(torch.tensor([time]), torch.tensor([0]))
        *steps, middle = network.encoder(images, embedding)
        for number, activation in enumerate(steps):
            yield golden.compare(f"{name}/t{time}/input_block_{number}", activation)
        yield golden.compare(f"{name}/t{time}/middle", middle)


def _check_scores(golden: _Golden) -> Iterator[ParityCheck]:
    images = golden.vectors["images"]
    for batch in (1, len(images)):
        found = score_slices(golden.classifier, torch.split(images, batch), pathological_class=1)
        yield golden.compare("classifier/slice_probabilities", found)


def _check_single_steps(golden: _Golden) -> Iterator[ParityCheck]:
    process, images = golden.process, golden.vectors["images"]
    check = partial(golden.compare, tolerance=TRAJECTORY_TOLERANCE)
    level = int(golden.table["noise_level"])
    noisy = process.add_noise(images, level, golden.vectors["noise"])
    yield check("trajectory/q_sample", noisy)
    time = level - 1
    back = Stop(time, float(process.schedule.levels_before[time]))
    yield check("trajectory/one_unguided_step", process.step(noisy, back, is_guided=False))
    yield check("trajectory/one_guided_step", process.step(noisy, back, is_guided=True))
    guided = process.guide(noisy, time, process.predict(noisy, time))
    yield check("trajectory/one_guided_pred_xstart", guided)
    encoding = plan_encoding(process.schedule, range(level + 1))
    yield check("trajectory/one_encode_step", process.follow(images, encoding[:1], is_guided=False))
    yield check("trajectory/ddim_encoded", process.follow(images, encoding, is_guided=False))


def _check_trajectories(golden: _Golden) -> Iterator[ParityCheck]:
    """Compare the predecessor's loop, and the one that comes to each time once, from the same noise."""
    level, count = int(golden.table["noise_level"]), int(golden.table["original_num_inference_steps"])
    schedule, images = golden.process.schedule, golden.vectors["images"]
    times = torch.tensor(list_repeated_times(level, count))
    yield golden.compare("trajectory/original_timesteps", times, 0.0)
    plans = {
        "original": plan_repeated_decoding(schedule, level, count),
        "exact": plan_decoding(schedule, range(level)),
    }
    noisy = golden.process.add_noise(images, level, golden.vectors["noise"])
    for name, plan in plans.items():
        decoded = golden.process.follow(noisy, plan, is_guided=True)
        maps, errors = measure_errors(images, decoded)
        yield golden.compare(f"trajectory/{name}_reconstruction", decoded, TRAJECTORY_TOLERANCE)
        yield golden.compare(f"trajectory/{name}_anomaly_map", maps, TRAJECTORY_TOLERANCE)
        yield golden.compare(f"trajectory/{name}_slice_errors", errors, TRAJECTORY_TOLERANCE)


def _check_slices(folder: Path) -> Iterator[ParityCheck]:
    table = json.loads((folder / "slice_golden.json").read_text())
    for case in table["slice_choice"]:
        yield _check_choice(case)
    vectors = load_tensors(folder / "slice_golden.safetensors")
    for name, expected in vectors.items():
        size = re.fullmatch(r"cropped_resized_(\d+)", name)
        if size:
            yield compare(
                f"slices/{name}", take_slices(vectors["image"], [0], int(size[1]))[0], expected, SLICE_TOLERANCE
            )
    case = table["feature_case"]
    values = [*summarise(torch.tensor(case["slice_probabilities"])), *(3 * [float("nan")])]
    for name, value in name_features(LABELS, values).items():
        yield ParityCheck(f"features/{name}", abs(value - case[name]), SLICE_TOLERANCE)


def _check_choice(case: Mapping[str, Any]) -> ParityCheck:
    """Count the slices that only one side looks at."""
    numbers = list_slices(case["shape_zyx"][0])
    wrong = set(choose_evenly(numbers)) ^ set(case["reconstruction_slices"])
    same_range = [numbers.start, numbers.stop] == case["classifier_slices"]
    name = "x".join(map(str, case["shape_zyx"]))
    return ParityCheck(f"slices/choice of {name}", float(len(wrong) + (not same_range)), 0.0)


def _check_layouts(folder: Path) -> Iterator[ParityCheck]:
    """Count the keys of the full-size networks whose name or shape differs."""
    table = json.loads((folder / "full_state_dict.json").read_text())
    architecture = Architecture.from_table({name: table[name]["config"] for name in ("unet", "classifier")})
    layouts: Mapping[str, Mapping[str, tuple[str, Shape]]] = {
        "unet": describe_unet_layout(architecture.unet),
        "classifier": describe_classifier_layout(architecture.classifier),
    }
    for name, layout in layouts.items():
        ours = {(key, shape) for key, (_, shape) in layout.items()}
        theirs = {(key, tuple(shape)) for key, (shape, _) in table[name]["keys"].items()}
        yield ParityCheck(f"full_size/keys of {name}", float(len(ours ^ theirs)), 0.0)


def _select(tensors: Mapping[str, Tensor], network: str) -> dict[str, Tensor]:
    prefix = f"{network}/"
    return {name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)}
