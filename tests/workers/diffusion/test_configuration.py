"""What an entry and a policy may say, and what they may not."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import Defect
from tests.workers.diffusion.tiny import SLICING, TINY
from workers.diffusion.configuration import (
    PREDECESSOR_QUIRKS,
    Architecture,
    Preprocessing,
    Quirks,
    ReconstructionOptions,
    SliceChoice,
    UNetShape,
    When,
)


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
            ({"process": {"pathological_class": 2}}, "no such class"),
        ],
    )
    def test_what_cannot_be_is_refused(self, table: dict[str, Any], message: str) -> None:
        with pytest.raises(Defect, match=message):
            Architecture.from_table(table)

    def test_heads_that_cannot_share_the_channels_are_refused(self) -> None:
        with pytest.raises(Defect, match="evenly"):
            UNetShape(num_head_channels=96)


class TestOptions:
    def test_nothing_is_reconstructed_unless_the_policy_says_so(self) -> None:
        options = ReconstructionOptions.from_table({})
        assert options.when is When.OFF
        assert options.quirks == Quirks()

    def test_a_policy_may_ask_for_the_predecessor(self) -> None:
        options = ReconstructionOptions.from_table(
            {"when": "on_suspicion", "choice": "most_suspicious", "quirks": "predecessor", "regions": {"most": 2}}
        )
        assert (options.when, options.choice) == (When.ON_SUSPICION, SliceChoice.MOST_SUSPICIOUS)
        assert options.quirks == PREDECESSOR_QUIRKS
        assert options.regions.most == 2

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ({"wen": "off"}, "unknown"),
            ({"when": "sometimes"}, "expected one of"),
            ({"quirks": "all"}, "expected an object"),
            ({"steps": 0}, "positive"),
            ({"budget_tflop": 0.0}, "positive"),
        ],
    )
    def test_what_cannot_be_understood_is_refused(self, table: dict[str, Any], message: str) -> None:
        with pytest.raises(Defect, match=message):
            ReconstructionOptions.from_table(table)
