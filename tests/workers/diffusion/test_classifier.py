"""The slice classifier: one memory format, and the same answer whether or not gradients are wanted."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.workers.diffusion.tiny import TINY
from workers.diffusion.classifier import SliceClassifier
from workers.diffusion.loading import make_classifier

CLEAN = torch.zeros(1)


def make() -> SliceClassifier:
    torch.manual_seed(1)
    return make_classifier(TINY.classifier, SliceClassifier(TINY.classifier).state_dict())


def make_slices(count: int) -> Tensor:
    side = TINY.classifier.image_size
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(3)) * 2 - 1


def test_no_convolution_reorders_its_images() -> None:
    classifier = make()
    formats: list[bool] = []

    def look(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        formats.extend(each.is_contiguous(memory_format=torch.channels_last) for each in (*inputs, output))

    for layer in classifier.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(look)
    with torch.inference_mode():
        classifier(make_slices(2), CLEAN)
    assert formats
    assert all(formats)


def test_what_is_computed_in_place_spoils_nothing() -> None:
    classifier, slices = make(), make_slices(3)
    kept = slices.clone()
    with torch.inference_mode():
        in_place = classifier(slices, CLEAN)
        assert torch.equal(classifier(slices, CLEAN), in_place)
    assert torch.equal(slices, kept)
    assert torch.allclose(classifier(slices, CLEAN), in_place, atol=1e-6)
