"""CT-CLIP's weights: every fault of a checkpoint is named, and nothing is guessed."""

from __future__ import annotations

import math
import re

import pytest
import torch

from shared.errors import Defect
from tests.workers.ct_clip.tiny import TINY, make_state
from workers.ct_clip.configuration import Architecture
from workers.ct_clip.loading import make_image_tower
from workers.ct_clip.model import CTCLIP
from workers.ct_clip.published import describe_layout, rename_key
from workers.ct_clip.weights import make_model, read_ct_clip, unwrap_checkpoint

POSITION_IDS = "text_transformer.embeddings.position_ids"


class TestLayout:
    def test_the_full_size_has_its_published_size(self) -> None:
        layout = describe_layout(Architecture())
        assert len(layout) == 362
        numbers = sum(torch.Size(slot.shape).numel() for name, slot in layout.items() if name != POSITION_IDS)
        assert numbers == 442_360_474

    def test_every_parameter_of_ours_has_one_published_name(self) -> None:
        with torch.device("meta"):
            ours = list(CTCLIP(TINY).state_dict())
        assert len({rename_key(name) for name in ours}) == len(ours)

    def test_what_only_training_uses_is_left_behind(self) -> None:
        used = sum(torch.Size(slot.shape).numel() for slot in describe_layout(Architecture()).values() if slot.ours)
        assert 280e6 < used < 290e6


class TestContainers:
    def test_a_bare_state_dict_is_taken_as_it_is(self) -> None:
        state = make_state()
        assert unwrap_checkpoint(state).keys() == state.keys()

    def test_the_container_of_the_trainer_is_opened(self) -> None:
        state = make_state()
        assert unwrap_checkpoint({"epoch": 3, "model_state_dict": state}).keys() == state.keys()

    @pytest.mark.parametrize("checkpoint", [[], {}, {"model_state_dict": 3}, {"optimizer": {}}])
    def test_anything_else_is_refused(self, checkpoint: object) -> None:
        with pytest.raises(Defect, match="neither a state dict nor"):
            unwrap_checkpoint(checkpoint)


class TestStrictReading:
    def test_the_optional_key_may_be_there_or_not(self) -> None:
        state = make_state()
        with_it = read_ct_clip(TINY, state)
        del state[POSITION_IDS]
        assert read_ct_clip(TINY, state).keys() == with_it.keys()

    def test_an_optional_key_that_counts_otherwise_is_refused(self) -> None:
        state = make_state()
        state[POSITION_IDS][0, 1] = 5
        with pytest.raises(Defect, match="does not count from 0"):
            read_ct_clip(TINY, state)

    def test_missing_unexpected_and_misshapen_keys_are_all_named(self) -> None:
        state = {**make_state(), "extra": torch.zeros(2)}
        del state["temperature"]
        state["to_text_latent.weight"] = torch.zeros(6, 9)
        with pytest.raises(Defect) as caught:
            read_ct_clip(TINY, state)
        assert "1 missing: temperature" in str(caught.value)
        assert "1 unexpected: extra" in str(caught.value)
        assert "to_text_latent.weight (6, 9) instead of (6, 8)" in str(caught.value)

    def test_a_key_that_inference_does_not_use_must_fit_too(self) -> None:
        state = make_state()
        del state["visual_transformer.to_pixels.0.bias"]
        with pytest.raises(Defect, match=r"1 missing: visual_transformer\.to_pixels\.0\.bias"):
            read_ct_clip(TINY, state)

    def test_a_code_book_that_was_never_filled_is_refused(self) -> None:
        state = {**make_state(), "visual_transformer.vq._codebook.initted": torch.zeros(1)}
        with pytest.raises(Defect, match="never filled"):
            read_ct_clip(TINY, state)

    def test_the_first_generation_is_told_from_the_second(self) -> None:
        state = {**make_state(), "to_visual_latent.weight": torch.empty(512, 2_097_152, device="meta")}
        with pytest.raises(Defect, match="first generation"):
            read_ct_clip(TINY, state)

    @pytest.mark.parametrize(
        ("key", "value", "told"),
        [
            ("to_text_latent.weight", math.nan, "not finite"),
            ("visual_transformer.vq._codebook.embed", math.inf, "not finite"),
            ("temperature", 1e5, "not finite"),  # its exponential is not
        ],
    )
    def test_values_that_no_score_can_be_made_of_are_named(self, key: str, value: float, told: str) -> None:
        state = make_state()
        state[key] = torch.full_like(state[key], value)
        with pytest.raises(Defect, match=f"{told}.*{re.escape(key)}"):
            read_ct_clip(TINY, state)

    @pytest.mark.parametrize("kind", [torch.int32, torch.bool, torch.complex64])
    def test_numbers_of_another_kind_are_named(self, kind: torch.dtype) -> None:
        state = make_state()
        state["to_text_latent.weight"] = state["to_text_latent.weight"].to(kind)
        with pytest.raises(Defect, match=r"no floating-point numbers.*to_text_latent\.weight"):
            read_ct_clip(TINY, state)

    def test_a_name_out_of_a_file_stays_in_one_short_line(self) -> None:
        state = {**make_state(), "a\nb\x1b[31m": torch.zeros(1), "k" * 100_000: torch.zeros(1)}
        with pytest.raises(Defect) as caught:
            read_ct_clip(TINY, state)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 400

    def test_half_precision_becomes_float32(self) -> None:
        state = {name: tensor.half() for name, tensor in make_state().items()}
        assert {tensor.dtype for tensor in read_ct_clip(TINY, state).values()} == {torch.float32}


class TestNetworks:
    def test_tensors_are_taken_without_a_copy(self) -> None:
        tensors = read_ct_clip(TINY, make_state())
        model = make_model(TINY, tensors)
        assert model.image.projection.weight.data_ptr() == tensors["image.projection.weight"].data_ptr()

    def test_the_image_side_stands_alone(self) -> None:
        tensors = read_ct_clip(TINY, make_state())
        volume = torch.randn(1, 1, 6, 16, 16)
        assert torch.equal(make_image_tower(TINY, tensors)(volume), make_model(TINY, tensors).image(volume))

    def test_stored_weights_of_another_precision_are_refused(self) -> None:
        tensors = read_ct_clip(TINY, make_state())
        tensors["image.projection.weight"] = tensors["image.projection.weight"].half()
        with pytest.raises(Defect, match=r"not all in float32: projection\.weight"):
            make_image_tower(TINY, tensors)

    def test_tensors_of_another_geometry_are_refused(self) -> None:
        tensors = read_ct_clip(TINY, make_state())
        del tensors["temperature"]
        with pytest.raises(Defect, match="1 missing: temperature"):
            make_model(TINY, tensors)
