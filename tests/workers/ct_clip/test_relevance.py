"""Relevance maps add up to the scores of the network, on reference weights, and choose what is worth showing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from model_weights.catalogue import ModelEntry, WeightFile
from model_weights.verifying import compute_sha256
from shared.errors import Defect
from tests.workers.ct_clip.converting import DOCUMENT, convert, get_entry
from tests.workers.ct_clip.tiny import make_state
from workers.ct_clip import relevance
from workers.ct_clip.evidence import Claim, choose_top
from workers.ct_clip.image_tower import ImageTower
from workers.ct_clip.loading import make_image_tower
from workers.ct_clip.model import score_prompts
from workers.ct_clip.parity import read_architecture
from workers.ct_clip.predictor import Predictor
from workers.ct_clip.relevance import (
    ROLE,
    compute_raw_latent,
    compute_relevance,
    load_reference,
    make_own_reference,
    make_reference,
)
from workers.ct_clip.weights import read_ct_clip

GOLDEN = Path(__file__).parents[2] / "golden" / "ct_clip"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def vectors() -> dict[str, Tensor]:
    return load_file(GOLDEN / "tiny_io.safetensors")


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return read_ct_clip(read_architecture(GOLDEN), load_file(GOLDEN / "tiny_weights.safetensors"))


@pytest.fixture(scope="module")
def tower(weights: dict[str, Tensor]) -> ImageTower:
    return make_image_tower(read_architecture(GOLDEN), weights)


@pytest.fixture(scope="module")
def codes(vectors: dict[str, Tensor]) -> Tensor:
    return vectors["vq_indices"].long()


def make_axes(vectors: dict[str, Tensor], temperature: Tensor) -> Tensor:
    text = vectors["text_latents"]
    return temperature.exp() * (text[0::2] - text[1::2])


class TestSums:
    @pytest.mark.parametrize("is_healthy", [True, False])
    def test_a_map_and_its_reference_are_the_difference_of_the_two_logits(
        self, tower: ImageTower, codes: Tensor, vectors: dict[str, Tensor], weights: dict[str, Tensor], is_healthy: bool
    ) -> None:
        book, temperature = tower.encoder.code_book, weights["temperature"]
        axes = make_axes(vectors, temperature)
        reference = (
            make_reference(book, [codes])["tokens"].float() if is_healthy else make_own_reference(book, codes[0])
        )
        directions = axes / compute_raw_latent(tower, codes[0]).norm()
        found = compute_relevance(tower, codes[0], directions, reference)
        logits = score_prompts(vectors["image_latents"][:1], vectors["text_latents"], temperature)[0]
        assert found.maps.shape == (len(axes), *codes[0].shape)
        assert torch.allclose(
            found.maps.sum(dim=(1, 2, 3)) + found.of_reference, logits[:, 0] - logits[:, 1], atol=1e-4
        )

    def test_a_token_is_worth_what_the_score_loses_with_it(self, tower: ImageTower, codes: Tensor) -> None:
        book = tower.encoder.code_book
        direction = torch.randn(1, tower.projection.out_features)
        reference = torch.zeros(1, *codes.shape[2:], tower.encoder.shape.dim)
        maps = compute_relevance(tower, codes[0], direction, reference).maps
        tokens = book(codes[0]).clone()
        tokens[2, 3, 1] = 0
        without = tower.projection(tokens.mean(dim=0).flatten())
        lost = direction @ (compute_raw_latent(tower, codes[0]) - without)
        assert torch.allclose(maps[:, 2, 3, 1], lost, atol=1e-5)

    def test_a_map_that_does_not_add_up_is_a_defect(
        self, tower: ImageTower, codes: Tensor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(relevance, "compute_raw_latent", lambda *_: torch.full((20,), 9.0))
        reference = make_own_reference(tower.encoder.code_book, codes[0])
        with pytest.raises(Defect, match="does not add up"):
            compute_relevance(tower, codes[0], torch.ones(1, 20), reference)


class TestReferences:
    def test_of_healthy_studies_it_is_the_mean_token_of_each_place(self, tower: ImageTower, codes: Tensor) -> None:
        book = tower.encoder.code_book
        kept = make_reference(book, [codes, codes[:1]])["tokens"]
        assert kept.dtype == torch.float16
        expected = (2 * book(codes[0]) + book(codes[1])) / 3
        assert torch.allclose(kept.float(), expected, atol=2e-3)

    def test_a_study_like_its_reference_has_an_empty_map(self, tower: ImageTower, codes: Tensor) -> None:
        reference = make_reference(tower.encoder.code_book, [codes[:1]])["tokens"].float()
        maps = compute_relevance(tower, codes[0], torch.randn(2, 20), reference).maps
        assert maps.abs().max() < 1e-2

    def test_none_is_made_of_no_study(self, tower: ImageTower) -> None:
        with pytest.raises(Defect, match="at least one"):
            make_reference(tower.encoder.code_book, [])

    def test_of_the_study_itself_what_is_the_same_in_all_slabs_is_taken_away(self, tower: ImageTower) -> None:
        codes = torch.full((3, 4, 4), 5)
        reference = make_own_reference(tower.encoder.code_book, codes)
        assert reference.shape == (1, 4, 4, 32)
        assert compute_relevance(tower, codes, torch.randn(1, 20), reference).maps.abs().max() < 1e-5


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> ModelEntry:
    folder = tmp_path_factory.mktemp("weights")
    convert(folder, make_state(), {**DOCUMENT, "labels": ["Pneumonia", "Rib fracture"]})
    return get_entry(folder)


def add_reference(entry: ModelEntry, tokens: Tensor) -> ModelEntry:
    path = entry.get_file("weights").path.with_name("reference.safetensors")
    save_file({"tokens": tokens}, path)
    return replace(
        entry, files={**entry.files, ROLE: WeightFile(ROLE, path, compute_sha256(path), path.stat().st_size)}
    )


class TestLoading:
    def test_an_entry_may_lack_one(self, entry: ModelEntry) -> None:
        assert load_reference(entry, Predictor(entry, CPU)._tower, slabs=6) is None

    @pytest.mark.parametrize("slabs", [1, 6])
    def test_it_may_be_the_same_for_all_slabs(self, entry: ModelEntry, slabs: int) -> None:
        with_reference = add_reference(entry, torch.ones(slabs, 4, 4, 12).half())
        loaded = load_reference(with_reference, Predictor(entry, CPU)._tower, slabs=6)
        assert loaded is not None
        assert (loaded.shape, loaded.dtype) == ((slabs, 4, 4, 12), torch.float32)

    @pytest.mark.parametrize("shape", [(6, 4, 3, 12), (4, 4, 12), (5, 4, 4, 12)])
    def test_one_of_another_grid_is_not_served(self, entry: ModelEntry, shape: tuple[int, ...]) -> None:
        with pytest.raises(Defect, match="of another grid"):
            Predictor(add_reference(entry, torch.ones(shape).half()), CPU)


class TestChoice:
    def test_those_over_their_thresholds_by_how_far(self) -> None:
        claims = [Claim("a", 0.6, 0.5), Claim("b", 0.3, 0.1), Claim("c", 0.9, 0.95), Claim("d", 0.5, 0.5)]
        assert choose_top(claims) == [1, 0, 3]

    def test_at_most_five(self) -> None:
        claims = [Claim(str(number), 0.9 - number / 100, 0.5) for number in range(9)]
        assert choose_top(claims) == [0, 1, 2, 3, 4]

    def test_the_nearest_three_when_none_reaches_its_threshold(self) -> None:
        claims = [Claim(str(number), number / 100, 0.5) for number in range(9)]
        assert choose_top(claims) == [8, 7, 6]

    def test_certainty_is_no_error(self) -> None:
        assert choose_top([Claim("a", 1.0, 0.5), Claim("b", 0.0, 0.0)]) == [0, 1]
