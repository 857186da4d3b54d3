"""fVLM's preprocessing in both geometries, and its way from study to answer, beside reference vectors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file as load_tensors
from torch import Tensor

from workers.fvlm.configuration import GeometryKind, ImageShape, Preprocessing
from workers.fvlm.golden import find_ellipsoid, read_architecture
from workers.fvlm.model import FVLM
from workers.fvlm.organs import LabelMap, Organ, merge_labels
from workers.fvlm.preprocess import Study, Window, cut_windows, prepare_study
from workers.fvlm.scoring import compute_logits, compute_probabilities
from workers.fvlm.weights import make_model, read_checkpoint
from workers.parity import ParityCheck
from workers.tensor_parity import compare

_SAMPLES, _LATENTS, _PROBABILITIES = 1e-6, 3e-6, 3e-6


def check_preprocessing(golden: Path) -> Iterator[ParityCheck]:
    """Compare boxes, windows and token masks of every study in both geometries."""
    table = json.loads((golden / "preprocessing_golden.json").read_text())
    vectors = load_tensors(golden / "preprocessing_golden.safetensors")
    for name, case in table["cases"].items():
        hu, labels = draw_case(case)
        for kind in GeometryKind:
            study = _prepare(case, hu, labels, kind)
            windows = cut_windows(study, Preprocessing(kind), ImageShape())
            prefix = f"{name}.{kind}"
            expected = {key.removeprefix(f"{prefix}."): each for key, each in vectors.items() if key.startswith(prefix)}
            for check in _check_case(study, windows, case[kind], expected, table["sample_strides_zyx"]):
                yield ParityCheck(f"preprocessing/{prefix}.{check.stage}", check.error, check.tolerance)


def check_end_to_end(golden: Path) -> Iterator[ParityCheck]:
    """Compare latents and probabilities of whole studies, by the small network."""
    table = json.loads((golden / "end_to_end_golden.json").read_text())
    studies = json.loads((golden / "preprocessing_golden.json").read_text())["cases"]
    items = json.loads((golden / "prompts_golden.json").read_text())["items"]
    architecture = read_architecture(golden)
    model = make_model(architecture, read_checkpoint(architecture, load_tensors(golden / "tiny_weights.safetensors")))
    texts = load_tensors(golden / "tiny_io.safetensors")["text.latents"]
    for name, case in table["cases"].items():
        hu, labels = draw_case(studies[name])
        for kind in [each for each in GeometryKind if each in case]:
            study = _prepare(studies[name], hu, labels, kind)
            answers = _Answers(model, texts, cut_windows(study, Preprocessing(kind), architecture.image))
            check = answers.check_product if kind is GeometryKind.PRODUCT else answers.check_public
            yield from check(f"end_to_end/{name}.{kind}", case[kind], items)


def draw_case(case: Mapping[str, Any]) -> tuple[npt.NDArray[np.int16], LabelMap]:
    """Return HU and labels (z, y, x) of a study's recipe."""
    shape = case["shape_xyz"]
    x, y, z = np.ogrid[tuple(slice(size) for size in shape)]
    slow = (7 * x + 11 * y + 13 * z + case["offset"]) % 401
    hu = (3 * slow + 4 * ((x * y + 3 * z * x + y) % 307) - 1500).astype(np.int16)
    labels = np.zeros(shape, np.uint8)
    for label, centre, radii in case["structures"]:
        labels[find_ellipsoid(shape, centre, radii)] = label
    return hu.T, labels.T


class _Answers:
    """What the small network says of one study."""

    def __init__(self, model: FVLM, texts: Tensor, windows: Sequence[Window]) -> None:
        self.latents: dict[Organ, Tensor] = {}
        for window in windows:
            self.latents |= model.image(window.image, window.token_masks)
        self._probabilities = {
            organ: compute_probabilities(compute_logits(latent, texts, model.temperature))[:, 1]
            for organ, latent in self.latents.items()
        }

    def check_product(
        self, name: str, expected: Mapping[str, Any], items: Sequence[Mapping[str, Any]]
    ) -> Iterator[ParityCheck]:
        """Compare the probability of each finding; those of a missing organ are missing on both sides."""
        found = {
            item["finding"]: self._probabilities[Organ(item["organ"])][number % self._count_pairs()]
            for number, item in enumerate(items)
            if Organ(item["organ"]) in self.latents
        }
        wanted: Mapping[str, float] = expected["probabilities"]
        yield ParityCheck(f"{name}.findings", float(len(found.keys() ^ wanted.keys())), 0.0)
        both = [finding for finding in wanted if finding in found]
        ours, theirs = torch.stack([found[each] for each in both]), torch.tensor([wanted[each] for each in both])
        yield compare(f"{name}.probabilities", ours, theirs, _PROBABILITIES)

    def check_public(
        self, name: str, expected: Mapping[str, Any], _items: Sequence[Mapping[str, Any]]
    ) -> Iterator[ParityCheck]:
        """Compare the latent of each organ, and its probabilities against each pair."""
        yield ParityCheck(f"{name}.organs", float(len({*map(str, self.latents)} ^ expected.keys())), 0.0)
        for organ, latent in self.latents.items():
            wanted = expected[organ]
            yield compare(f"{name}.{organ}.latent", latent, torch.tensor(wanted["latent"]), _LATENTS)
            pairs = torch.tensor(wanted["positive_probability_per_pair"])
            yield compare(f"{name}.{organ}.probabilities", self._probabilities[organ], pairs, _PROBABILITIES)

    def _count_pairs(self) -> int:
        return len(next(iter(self._probabilities.values())))


def _prepare(case: Mapping[str, Any], hu: npt.NDArray[np.int16], labels: LabelMap, kind: GeometryKind) -> Study:
    return prepare_study(hu, merge_labels(labels, kind), case["spacing_xyz"][::-1], Preprocessing(kind))


def _check_case(
    study: Study,
    windows: Sequence[Window],
    expected: Mapping[str, Any],
    vectors: Mapping[str, Tensor],
    strides: Mapping[str, Sequence[int]],
) -> Iterator[ParityCheck]:
    yield _count("padded_shape", [*study.image.shape], expected["padded_shape_zyx"])
    if "roi_start_zyx" in expected:
        yield _count("roi_start", [each.start for each in study.box], expected["roi_start_zyx"])
        yield _count("roi_stop", [each.stop for each in study.box], expected["roi_stop_zyx"])
    counts = {str(label): int((study.organs == int(label)).sum()) for label in expected["organ_voxels"]}
    yield ParityCheck("organ_voxels", float(counts != expected["organ_voxels"]), 0.0)
    padded = _sample(study.image, strides["padded_sample"])
    yield compare("padded", padded, vectors["padded_sample"], _SAMPLES)
    found = {str(organ): window for window in windows for organ in window.token_masks}
    yield ParityCheck("organs", float(len(found.keys() ^ expected["organs"].keys())), 0.0)
    for organ, window in found.items():
        sample = _sample(window.image[0, 0], strides["window_sample"])
        yield _count(f"{organ}.window_shape", [*window.image.shape[2:]], expected["organs"][organ]["window_shape"])
        yield compare(f"{organ}.window", sample, vectors[f"{organ}.window_sample"], _SAMPLES)
        tokens = vectors[f"{organ}.token_mask"].flatten().int()
        yield compare(f"{organ}.token_mask", window.token_masks[Organ(organ)].int(), tokens, 0.0)


def _count(stage: str, found: Sequence[int], expected: Sequence[int]) -> ParityCheck:
    return ParityCheck(stage, float(sum(ours != theirs for ours, theirs in zip(found, expected, strict=True))), 0.0)


def _sample(array: Tensor, strides: Sequence[int]) -> Tensor:
    return array[tuple(slice(None, None, stride) for stride in strides)]
