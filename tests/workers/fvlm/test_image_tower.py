"""The image side: what it leaves out changes nothing, and positions are made once for each grid."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.workers.fvlm.tiny import TINY, make_state
from workers.fvlm.image_tower import ImageTower
from workers.fvlm.organs import Organ
from workers.fvlm.weights import make_model, read_checkpoint

GRID = (2, 3, 3)
TOKENS = 18


@pytest.fixture(scope="module")
def tower() -> ImageTower:
    return make_model(TINY, read_checkpoint(TINY, make_state())).image


def make_window() -> Tensor:
    sizes = [count * patch for count, patch in zip(GRID, TINY.image.patch_size, strict=True)]
    return torch.rand(1, 1, *sizes, generator=torch.Generator().manual_seed(2))


@torch.inference_mode()
def test_tokens_that_are_kept_are_those_of_a_pass_for_all(tower: ImageTower) -> None:
    kept = torch.arange(TOKENS) % 3 == 1
    found, whole = tower.encoder(make_window(), kept), tower.encoder(make_window())
    assert found.shape == (1, len(TINY.image.levels) + 1, 6, TINY.image.dim)
    assert torch.allclose(found, whole[:, :, kept], atol=1e-5)


@torch.inference_mode()
def test_organs_that_share_a_pass_are_read_as_if_each_had_its_own(tower: ImageTower) -> None:
    tokens = torch.arange(TOKENS)
    masks = {Organ.LUNG: tokens > 4, Organ.HEART: tokens % 5 == 0, Organ.AORTA: tokens == 17}
    shared = tower(make_window(), masks)
    for organ, mask in masks.items():
        alone = tower(make_window(), {organ: mask})[organ]
        assert torch.allclose(shared[organ], alone, atol=1e-5)
        assert float(alone.norm()) == pytest.approx(1, abs=1e-5)


class TestPositions:
    def test_of_frozen_weights_are_interpolated_once_for_each_grid(self, tower: ImageTower) -> None:
        embedding = tower.encoder.patch_embedding
        assert embedding.get_positions(GRID) is embedding.get_positions(GRID)
        assert embedding.get_positions(GRID).shape == (1, TOKENS, TINY.image.dim)

    def test_of_the_grid_that_was_trained_are_the_weights_themselves(self, tower: ImageTower) -> None:
        embedding = tower.encoder.patch_embedding
        assert torch.equal(embedding.get_positions(TINY.image.position_grid), embedding.positions)

    def test_follow_weights_that_learn(self) -> None:
        embedding = ImageTower(TINY.image, TINY.dim_latent).encoder.patch_embedding
        before = embedding.get_positions(GRID).detach().clone()
        with torch.no_grad():
            embedding.positions.add_(1)
        assert torch.allclose(embedding.get_positions(GRID), before + 1)
