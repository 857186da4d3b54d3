"""Outputs that are never chosen are left out, and no label of any volume changes by it."""

from __future__ import annotations

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import nn

from tests.workers.segmentation.making import TINY
from workers.segmentation.network import make_untrained
from workers.segmentation.silent import drop_silent, find_heard

OUTPUTS, SILENT = 6, (1, 4)
HEARD = (0, 2, 3, 5)


def make_network() -> PlainConvUNet:
    torch.manual_seed(3)
    network = make_untrained(TINY, OUTPUTS).eval()
    silence(get_head(network))
    return network


def get_head(network: PlainConvUNet) -> nn.Conv3d:
    head = network.decoder.seg_layers[-1]
    assert isinstance(head, nn.Conv3d)
    return head


@torch.no_grad()
def silence(head: nn.Conv3d) -> None:
    assert head.bias is not None
    for values, silent in ((head.weight, 0.0), (head.bias, -20.0)):
        values[list(HEARD)] -= values[list(HEARD)].mean(0)
        values[list(SILENT)] = silent


class TestDropping:
    def test_no_label_changes(self) -> None:
        network, volume = make_network(), torch.randn(1, 1, 16, 24, 24)
        with torch.inference_mode():
            before = network(volume).argmax(1)
            kept = drop_silent(network)
            after = network(volume)
        assert kept == HEARD
        assert after.shape[1] == len(HEARD)
        assert torch.equal(torch.tensor(kept)[after.argmax(1)], before)

    def test_a_network_whose_outputs_are_all_heard_stays_as_it_is(self) -> None:
        network = make_untrained(TINY, OUTPUTS)
        head = get_head(network)
        assert drop_silent(network) == tuple(range(OUTPUTS))
        assert get_head(network) is head


class TestDoubt:
    @pytest.mark.parametrize("place", ["weight", "bias"])
    def test_outputs_whose_mean_may_fall_below_the_constant_keep_it(self, place: str) -> None:
        head = get_head(make_network())
        with torch.no_grad():
            getattr(head, place)[list(HEARD)] -= 1.0
        assert find_heard(head) == tuple(range(OUTPUTS))

    def test_a_constant_above_the_mean_is_heard(self) -> None:
        head = get_head(make_network())
        with torch.no_grad():
            assert head.bias is not None
            head.bias[list(SILENT)] = 5.0
        assert find_heard(head) == tuple(range(OUTPUTS))
