"""MedNeXt: keys, strict loading, and inference in pieces that answers as the network as written does."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from shared.errors import Defect
from workers.mednext import streaming
from workers.mednext.configuration import Architecture, NormKind
from workers.mednext.model import MedNeXt
from workers.mednext.weights import make_model, unwrap_checkpoint

SMALL = Architecture(num_classes=3, base_channels=8, depth_config=(1, 2), exp_r=(2, 3))


def make_random(architecture: Architecture, seed: int = 0) -> MedNeXt:
    torch.manual_seed(seed)
    model = MedNeXt(architecture)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval().requires_grad_(requires_grad=False)


def get_state() -> Mapping[str, Tensor]:
    return make_random(SMALL).state_dict()


class TestContainers:
    def test_a_plain_state_dict_is_taken_as_it_is(self) -> None:
        state = get_state()
        assert unwrap_checkpoint(state).keys() == state.keys()

    def test_model_state_and_the_prefix_of_data_parallel_are_taken_off(self) -> None:
        state = get_state()
        wrapped = {"model_state": {f"module.{name}": tensor for name, tensor in state.items()}, "epoch": 3}
        assert unwrap_checkpoint(wrapped).keys() == state.keys()

    def test_the_dummy_tensor_is_dropped(self) -> None:
        state = get_state()
        assert "dummy_tensor" not in unwrap_checkpoint({**state, "dummy_tensor": torch.zeros(1)})

    @pytest.mark.parametrize("checkpoint", [[], {}, {"model_state": 3}, {"optimizer": {}}])
    def test_anything_else_is_refused(self, checkpoint: object) -> None:
        with pytest.raises(Defect, match="neither a state dict nor"):
            unwrap_checkpoint(checkpoint)


class TestStrictLoading:
    def test_missing_unexpected_and_misshapen_keys_are_all_named(self) -> None:
        state = {**get_state(), "extra": torch.zeros(2)}
        del state["stem.bias"]
        state["classifier.1.bias"] = torch.zeros(4)
        with pytest.raises(Defect) as caught:
            make_model(SMALL, state)
        message = str(caught.value)
        assert "1 missing: stem.bias" in message
        assert "1 unexpected: extra" in message
        assert "classifier.1.bias (4,) instead of (3,)" in message

    def test_many_faults_are_counted_and_some_named(self) -> None:
        with pytest.raises(Defect, match=r"and \d+ more"):
            make_model(SMALL, {"extra": torch.zeros(1)})

    def test_published_names_of_the_response_norm_fit(self) -> None:
        architecture = Architecture(num_classes=3, base_channels=8, depth_config=(1, 1), exp_r=(2, 2), grn=True)
        state = make_random(architecture).state_dict()
        published = {name.replace("global_resp_", "grn_"): tensor for name, tensor in state.items()}
        assert any(name.endswith("grn_beta") for name in published)
        make_model(architecture, published)


class TestArchitecture:
    def test_the_full_size_has_its_published_number_of_parameters(self) -> None:
        with torch.device("meta"):
            model = MedNeXt(Architecture(num_classes=22))
        assert sum(parameter.numel() for parameter in model.parameters()) == 6_905_366

    def test_softmax_sums_to_one_and_sigmoid_does_not_care(self) -> None:
        logits = torch.tensor([[1.0, 2.0, 3.0]])
        softmax = MedNeXt(Architecture.from_table({**SMALL.to_table(), "activation": "softmax"})).activate(logits)
        assert float(softmax.sum()) == pytest.approx(1.0)
        assert torch.equal(MedNeXt(SMALL).activate(logits), logits.sigmoid())

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"depht_config": [1]}, "unknown"),
            ({"norm_type": "batch"}, "norm_type is 'batch'"),
            ({"depth_config": [1]}, "both need one each"),
            ({"kernel_size": 4}, "must be odd"),
            ({"base_channels": "8"}, "must be positive numbers"),
            ({"num_classes": 0}, "must be positive numbers"),
        ],
    )
    def test_a_wrong_table_is_refused(self, change: dict[str, object], said: str) -> None:
        with pytest.raises(Defect, match=said):
            Architecture.from_table({**SMALL.to_table(), **change})

    def test_a_table_reads_back_equal(self) -> None:
        assert Architecture.from_table(SMALL.to_table()) == SMALL


class TestStreaming:
    @pytest.mark.parametrize("norm", list(NormKind))
    @pytest.mark.parametrize("grn", [False, True])
    @pytest.mark.parametrize("batch", [1, 3])
    def test_it_answers_as_the_network_as_written(self, norm: NormKind, grn: bool, batch: int) -> None:
        model = make_random(Architecture.from_table({**SMALL.to_table(), "norm_type": norm, "grn": grn}))
        volume = torch.randn(batch, 1, 21, 18, 23)
        assert torch.allclose(streaming.predict_logits(model, volume), model(volume), atol=1e-5, rtol=1e-5)

    def test_many_small_chunks_change_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        model, volume = make_random(SMALL), torch.randn(1, 1, 21, 18, 23)
        whole = streaming.predict_logits(model, volume)
        monkeypatch.setattr(streaming, "CHUNK_ELEMENTS", 100)
        assert torch.allclose(streaming.predict_logits(model, volume), whole, atol=1e-5)

    def test_the_input_is_left_alone_and_the_answer_repeats(self) -> None:
        model, volume = make_random(SMALL), torch.randn(1, 1, 21, 18, 23)
        kept = volume.clone()
        first = streaming.predict_logits(model, volume)
        assert torch.equal(streaming.predict_logits(model, volume), first)
        assert torch.equal(volume, kept)

    def test_a_far_mean_does_not_spoil_the_statistics(self) -> None:
        model = make_random(SMALL)
        volume = torch.randn(1, 1, 21, 18, 23) * 1e-2 + 5
        assert torch.allclose(streaming.predict_logits(model, volume), model(volume), atol=1e-3)
