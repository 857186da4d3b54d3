"""The known answers of both networks: a slice made from a formula, and what each makes of it at two times."""

from __future__ import annotations

import torch
from torch import Tensor

from model_weights.catalogue import ModelEntry
from model_weights.loading import load_tensors
from shared.errors import Defect
from shared.precision import Precision
from workers.device import ComputeMode
from workers.diffusion.classifier import SliceClassifier
from workers.diffusion.configuration import NetworkShape
from workers.diffusion.unet import UNet

TOLERANCE = 1e-3
"""Largest difference of a logit or of the noise at a pixel in float32; other processors round differently."""

HALF_TOLERANCE = 0.1
"""The same in bfloat16."""

_TIMES = (0, 100)


def make_question(shape: NetworkShape) -> Tensor:
    """Return a slice (1, c, x, y): waves that are the same on every machine but for rounding."""
    x = torch.arange(shape.image_size, dtype=torch.float64)[:, None]
    y = torch.arange(shape.image_size, dtype=torch.float64)
    waves = torch.cos(0.09 * x) * torch.sin(0.07 * y + 0.4) + 0.5 * torch.sin(0.8 * x + 1.1 * y)
    return waves.clamp(-1, 1).float().expand(1, shape.in_channels, -1, -1)


@torch.inference_mode()
def answer_as_classifier(classifier: SliceClassifier) -> Tensor:
    """Return the logits (times, classes) of the question."""
    device = classifier.head_norm.weight.device
    question = make_question(classifier.shape).to(device)
    logits = torch.cat([classifier(question, torch.tensor([time], device=device)) for time in _TIMES])
    return logits.float().cpu()


@torch.inference_mode()
def answer_as_unet(unet: UNet) -> Tensor:
    """Return the noise (1, c, x, y) that the noise predictor sees over the question, at the later time."""
    device = unet.head_norm.weight.device
    question = make_question(unet.shape).to(device)
    noise: Tensor
    noise, _ = unet(question, torch.tensor([_TIMES[-1]], device=device), torch.tensor([0], device=device))
    return noise.float().cpu()


def make_known_answer(unet: UNet | None, classifier: SliceClassifier) -> dict[str, Tensor]:
    """Return `logits`, and `noise` where there is a noise predictor."""
    answers = {"logits": answer_as_classifier(classifier)}
    return answers if unet is None else {**answers, "noise": answer_as_unet(unet)}


def choose_tolerance(mode: ComputeMode) -> float:
    """Return how far an answer may be from the known one in a precision."""
    return HALF_TOLERANCE if mode.precision is Precision.BF16 else TOLERANCE


def require_known_answer(entry: ModelEntry, name: str, found: Tensor, tolerance: float) -> None:
    """Raise Defect when an answer (`logits` or `noise`) is not the known one."""
    known = load_tensors(entry.get_file("known_answer"))
    if name not in known:
        raise Defect(f"the known answer of model {entry.name} has no {name}; install the weights again")
    error = float((found - known[name]).abs().max())
    if not error <= tolerance:
        raise Defect(f"model {entry.name} gives another answer than its known one: its {name} are off by {error:.2g}")
