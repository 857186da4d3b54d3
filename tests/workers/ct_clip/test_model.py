"""CT-CLIP: the quirks that the published weights depend on, and answers that hang together."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from shared.errors import Defect
from tests.workers.ct_clip.tiny import TINY, make_state
from workers.ct_clip import ctvit, transformer
from workers.ct_clip.configuration import Architecture, ImageShape, Preprocessing, TextShape
from workers.ct_clip.ctvit import CodeBook
from workers.ct_clip.known_answer import make_known_answer, make_question
from workers.ct_clip.model import CTCLIP, compute_probabilities, score_prompts
from workers.ct_clip.transformer import CosineAttention, PositionalConvolution, PositionBias
from workers.ct_clip.weights import make_model, read_ct_clip


@pytest.fixture
def model() -> CTCLIP:
    return make_model(TINY, read_ct_clip(TINY, make_state()))


class TestImageSide:
    @pytest.mark.parametrize("slices", [2, 6, 10])
    def test_any_number_of_slabs_gives_a_latent_of_length_one(self, model: CTCLIP, slices: int) -> None:
        latents = model.image(torch.randn(2, 1, slices, 16, 16))
        assert latents.shape == (2, TINY.dim_latent)
        assert torch.allclose(latents.norm(dim=-1), torch.ones(2), atol=1e-6)

    def test_a_batch_answers_as_its_volumes_do_alone(self, model: CTCLIP) -> None:
        volumes = torch.randn(3, 1, 6, 16, 16)
        alone = torch.cat([model.image(volume[None]) for volume in volumes])
        assert torch.allclose(model.image(volumes), alone, atol=1e-5)

    def test_pieces_change_nothing(self, model: CTCLIP, monkeypatch: pytest.MonkeyPatch) -> None:
        volume = torch.randn(1, 1, 6, 16, 16)
        whole = model.image(volume)
        monkeypatch.setattr(transformer, "_CHUNK_TOKENS", 5)
        monkeypatch.setattr(ctvit, "_CHUNK_TOKENS", 7)
        assert torch.allclose(model.image(volume), whole, atol=1e-5)

    def test_tokens_become_stored_codes(self, model: CTCLIP) -> None:
        tokens = model.image.encoder(torch.randn(1, 1, 6, 16, 16))
        stored = model.image.encoder.code_book.codes
        assert torch.cdist(tokens.flatten(0, 3), stored).min(dim=1).values.max() < 1e-5


class TestPositionalConvolution:
    def test_it_looks_back_along_the_first_axis_and_both_ways_along_the_others(self) -> None:
        convolution = PositionalConvolution(1)
        for parameter, value in zip(convolution.parameters(), (1.0, 0.0), strict=True):  # weight, bias
            torch.nn.init.constant_(parameter, value)
        x = torch.zeros(1, 5, 5, 5)
        x[0, 2, 2, 2] = 1
        reached = convolution(x.view(1, 125, 1), (5, 5, 5)).view(5, 5, 5).nonzero()
        assert reached.min(dim=0).values.tolist() == [2, 1, 1]
        assert reached.max(dim=0).values.tolist() == [4, 3, 3]

    def test_tokens_are_read_as_they_lie_whatever_their_sequences_mean(self) -> None:
        convolution = PositionalConvolution(3)
        x = torch.randn(2 * 4 * 4, 6, 3)  # as in the temporal transformer: (b h w, t, d)
        as_spatial = convolution(x.view(2 * 6, 16, 3), (6, 4, 4))
        assert torch.equal(convolution(x, (6, 4, 4)), as_spatial.view(x.shape))


class TestAttention:
    @pytest.mark.parametrize("has_bias", [False, True])
    def test_it_runs_in_the_fused_kernel_and_never_holds_all_scores(self, has_bias: bool) -> None:
        attention = CosineAttention(dim=12, heads=2, dim_head=4)
        bias = torch.randn(2, 9, 9) if has_bias else None
        with torch.inference_mode(), sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # raises where that cannot be
            fused = attention(torch.randn(3, 9, 12), bias)
        assert fused.shape == (3, 9, 12)

    def test_the_bias_is_added_to_eight_times_the_cosine(self) -> None:
        attention = CosineAttention(dim=12, heads=2, dim_head=4)
        x, bias = torch.randn(3, 9, 12), torch.randn(2, 9, 9)
        key, value = (each.view(3, 9, 2, 4).transpose(1, 2) for each in attention.key_value(x).chunk(2, dim=-1))
        query = attention.query(attention.norm(x)).view(3, 9, 2, 4).transpose(1, 2)
        cosine = functional.cosine_similarity(query[:, :, :, None], key[:, :, None], dim=-1)
        expected = ((8 * cosine + bias).softmax(dim=-1) @ value).transpose(1, 2).flatten(2)
        assert torch.allclose(attention(x, bias), attention.output(expected), atol=1e-6)


class TestPositionBias:
    def test_it_is_the_network_of_each_pair_of_positions(self) -> None:
        bias = PositionBias(8, 2)
        positions = torch.cartesian_prod(torch.arange(3), torch.arange(3))
        offsets = (positions[:, None] - positions[None, :]).float()
        pairwise = bias.network(offsets.sign() * torch.log(offsets.abs() + 1)).movedim(-1, 0)
        assert torch.allclose(bias(3), pairwise, atol=1e-6)


class TestCodeBook:
    def test_directions_decide_and_lengths_do_not(self) -> None:
        book = CodeBook(2, 2)
        with torch.no_grad():
            book.codes.copy_(torch.tensor([[0.1, 0.0], [0.0, 100.0]]))
        assert book.find_codes(torch.tensor([[5.0, 4.0], [1.0, 2.0]])).tolist() == [0, 1]

    def test_a_code_comes_back_as_it_is_stored(self) -> None:
        book = CodeBook(4, 3)
        assert torch.equal(book(torch.tensor([[2]]))[0, 0], book.codes[2])

    def test_codes_are_compared_in_float32_under_autocast_too(self) -> None:
        torch.manual_seed(0)
        book, tokens = CodeBook(512, 16), torch.randn(200, 16)
        with torch.autocast("cpu", torch.bfloat16):
            found = book.find_codes(tokens)
        assert torch.equal(found, book.find_codes(tokens))


class TestScores:
    def test_a_probability_is_the_sigmoid_of_the_difference(self) -> None:
        image = functional.normalize(torch.randn(2, 6), dim=-1)
        text = functional.normalize(torch.randn(8, 6), dim=-1)
        temperature = torch.tensor(1.5)
        probabilities = compute_probabilities(score_prompts(image, text, temperature))
        expected = (temperature.exp() * image @ (text[0::2] - text[1::2]).t()).sigmoid()
        assert torch.allclose(probabilities, expected, atol=1e-6)

    def test_padding_does_not_move_a_prompt(self, model: CTCLIP) -> None:
        ids = torch.tensor([[2, 7, 9, 3]])
        padded = functional.pad(ids, (0, 5))
        mask = (padded != 0).long()
        assert torch.allclose(model.text(ids, torch.ones_like(ids)), model.text(padded, mask), atol=1e-5)


class TestKnownAnswer:
    def test_it_repeats_and_depends_on_the_weights(self, model: CTCLIP) -> None:
        answer, again = make_known_answer(model.image), make_known_answer(model.image)
        assert torch.equal(answer["latents"], again["latents"])
        other = make_model(TINY, read_ct_clip(TINY, make_state(seed=1)))
        assert not torch.equal(answer["codes"], make_known_answer(other.image)["codes"])

    def test_the_question_fits_the_network_and_its_range(self) -> None:
        question = make_question(ImageShape())
        assert question.shape == (1, 1, 20, 480, 480)
        assert question.abs().max() <= 1


class TestArchitecture:
    @pytest.mark.parametrize("architecture", [TINY, Architecture()])
    def test_a_table_reads_back_equal(self, architecture: Architecture) -> None:
        assert Architecture.from_table(architecture.to_table()) == architecture

    def test_preprocessing_reads_back_equal(self) -> None:
        assert Preprocessing.from_table(Preprocessing().to_table()) == Preprocessing()

    @pytest.mark.parametrize(
        ("table", "said"),
        [
            ({"depth": 4}, "unknown"),
            ({"image": {"dimension": 4}}, "unknown"),
            ({"image": {"heads": 0}}, "must be positive"),
            ({"image": {"image_size": 50, "patch_size": 20}}, "no multiple"),
            ({"text": {"hidden_size": 10, "num_attention_heads": 3}}, "cannot share"),
            ({"dim_latent": "512"}, "must be a positive"),
        ],
    )
    def test_a_wrong_table_is_refused(self, table: dict[str, object], said: str) -> None:
        with pytest.raises(Defect, match=said):
            Architecture.from_table(table)

    @pytest.mark.parametrize(
        "table", [{"spacing": [1, 1, 1]}, {"spacing_mm": [1, 1]}, {"shape": [0, 1, 1]}, {"variant": "other"}]
    )
    def test_a_wrong_preprocessing_is_refused(self, table: dict[str, object]) -> None:
        with pytest.raises(Defect, match="preprocessing"):
            Preprocessing.from_table(table)

    def test_the_defaults_are_the_published_sizes(self) -> None:
        assert (ImageShape().patch_voxels, ImageShape().feed_forward_width) == (4000, 1365)
        assert ImageShape().pooled_size == 294_912
        assert TextShape().vocab_size == 30_522
