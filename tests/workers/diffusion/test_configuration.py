"""What an entry and a policy may say, and what they may not."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import Defect
from tests.workers.diffusion.tiny import SLICING, TINY
from workers.diffusion.configuration import Architecture, Preprocessing, UNetShape


class TestTables:
    @pytest.mark.parametrize("architecture", [Architecture(), TINY])
    def test_an_architecture_survives_its_table(self, architecture: Architecture) -> None:
        assert Architecture.from_table(architecture.to_table()) == architecture

    def test_a_preprocessing_survives_its_table(self) -> None:
        assert Preprocessing.from_table(SLICING.to_table()) == SLICING

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ({"unett": {}}, "unknown"),
            ({"unet": {"model_channels": 48}}, "multiple of 32"),
            ({"unet": {"image_size": 20}}, "do not halve"),
            ({"unet": {"use_scale_shift_norm": False}}, "not supported"),
            ({"classifier": {"pool": "adaptive"}}, "only 'attention'"),
            ({"classifier": {"image_size": 128}}, "same images"),
            ({"process": {"noise_level": 1000}}, "noise_level"),
            ({"map": {"smoothing": 3.0}}, "unknown"),
            ({"map": {"smoothing_mm": -1.0}}, "not be negative"),
            ({"process": {"pathological_class": 2}}, "no such class"),
        ],
    )
    def test_what_cannot_be_is_refused(self, table: dict[str, Any], message: str) -> None:
        with pytest.raises(Defect, match=message):
            Architecture.from_table(table)

    def test_heads_that_cannot_share_the_channels_are_refused(self) -> None:
        with pytest.raises(Defect, match="evenly"):
            UNetShape(num_head_channels=96)
