"""Training of the demo fVLM: masks with errors, honest targets, the pooling of inference, resumable runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model_weights.catalogue import ModelEntry, load_catalogue
from phantom.study import FINDINGS, PhantomSettings, make_study
from shared.features import FVLM_LABELS
from training.examples import Task
from training.fvlm.__main__ import train
from training.fvlm.batches import (
    ITEMS,
    TAUGHT_ITEMS,
    Prepared,
    View,
    count_in_tokens,
    judge,
    make_batch,
    make_view,
    prepare_example,
)
from training.fvlm.examples import Example, iterate_examples, locate_findings, make_example
from training.fvlm.fitting import Fitting
from training.fvlm.learner import Learner, encode_crops, pool
from training.fvlm.masks import SegmenterErrors, spoil_masks
from training.fvlm.plan import TAUGHT, CropStage, FVLMPlan
from training.fvlm.whole import encode_view, make_whole_batch
from training.phantoms import Prevalence
from workers.fvlm.configuration import GeometryKind, ImageShape, Preprocessing
from workers.fvlm.items import load_items
from workers.fvlm.organs import ORGANS, Organ, merge_labels
from workers.fvlm.predictor import Predictor

pytestmark = pytest.mark.usefixtures("one_thread")

GRID = Preprocessing(window=(60, 40, 52), least_shape=(45, 28, 40), margins=(1, 2, 2), spacing_mm=(8.0, 8.0, 8.0))
TINY = FVLMPlan(
    training_studies=5,
    validation_studies=4,
    held_out_studies=4,
    crop_stages=(CropStage(2, (3, 3, 3), 4), CropStage(1, (4, 3, 4), 2)),
    whole_steps=2,
    whole_batch=4,
    image=ImageShape(
        dim=32,
        mlp_dim=32,
        heads=2,
        depth=2,
        patch_size=(5, 4, 4),
        position_grid=(9, 7, 10),
        levels=(0,),
        pool_heads=16,
    ),
    text_width=16,
    text_layers=1,
    text_heads=2,
    dim_latent=16,
    preprocessing=GRID,
)
NO_ERRORS = SegmenterErrors(0, 0, 0, 0, 0)


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    prevalence = Prevalence(normal=0.2, most_findings=5)
    return [make_example(Task(seed, prevalence, is_located=True)) for seed in range(5)]


@pytest.fixture(scope="module")
def studies(examples: list[Example]) -> list[Prepared]:
    return [prepare_example(example, GRID) for example in examples]


class TestItems:
    def test_every_item_is_taught_or_declared_untaught_and_taught_by_what_phantoms_have(self) -> None:
        assert set(TAUGHT) < set(FVLM_LABELS)
        assert {name for names in TAUGHT.values() for name in names} <= set(FINDINGS)
        assert [item.finding for item in TAUGHT_ITEMS] == [item.finding for item in ITEMS if item.finding in TAUGHT]


class TestExamples:
    def test_they_come_in_order_and_are_kept_as_they_were_made(self, tmp_path: Path) -> None:
        tasks = [Task(seed, Prevalence(normal=0.0), is_located=seed == 3) for seed in (5, 3)]
        made = list(iterate_examples(tasks, tmp_path, 0))
        written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
        kept = list(iterate_examples(tasks, tmp_path, 0))
        assert written == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
        assert [example.seed for example in made] == [5, 3]
        assert [example.places is None for example in kept] == [True, False]
        for one, other in zip(made, kept, strict=True):
            assert np.array_equal(one.volume.hu, other.volume.hu)
            assert one.volume.geometry == other.volume.geometry
            assert one.findings == other.findings

    def test_a_finding_lies_where_it_was_put(self) -> None:
        settings = PhantomSettings.coarse()
        study = make_study(8, ("mass",), settings)
        (place,) = locate_findings(study, settings)
        middle = np.argwhere(place).mean(axis=0) * study.spacing_zyx_mm + study.origin_lps_mm[::-1]
        assert middle == pytest.approx(study.findings[0].centre_lps_mm[::-1], abs=8)


class TestMasks:
    def test_without_errors_they_are_the_organs(self, studies: list[Prepared]) -> None:
        found = spoil_masks(studies[0].labels, studies[0].hu, NO_ERRORS, np.random.default_rng(0))
        assert np.array_equal(found, merge_labels(studies[0].labels, GeometryKind.PUBLIC))

    def test_a_lost_lobe_takes_one_lobe_and_nothing_else(self, studies: list[Prepared]) -> None:
        study = studies[0]
        errors = replace(NO_ERRORS, lost_lobe=1.0)
        found = spoil_masks(study.labels, study.hu, errors, np.random.default_rng(0))
        lost = study.labels[(found == 0) & (merge_labels(study.labels, GeometryKind.PUBLIC) > 0)]
        assert len(set(lost.tolist())) == 1
        assert lost[0] in range(10, 15)

    def test_moved_and_bulged_masks_are_wrong_at_their_rims_only(self, studies: list[Prepared]) -> None:
        study = studies[0]
        organs = merge_labels(study.labels, GeometryKind.PUBLIC)
        errors = replace(NO_ERRORS, moved=1.0, bulged=1.0)
        found = spoil_masks(study.labels, study.hu, errors, np.random.default_rng(3))
        both, either = (found > 0) & (organs > 0), (found > 0) | (organs > 0)
        assert not np.array_equal(found, organs)
        assert both.sum() > 0.5 * either.sum()
        assert set(np.unique(found).tolist()) <= set(range(len(ORGANS) + 1))

    def test_there_is_always_an_organ(self) -> None:
        labels = np.full((4, 4, 4), 10, np.uint8)
        errors = replace(NO_ERRORS, lost_dense_lung=1.0)
        assert spoil_masks(labels, np.zeros((4, 4, 4), np.int16), errors, np.random.default_rng(0)).any()


class TestViews:
    def test_places_lie_in_the_image_where_the_finding_shows(self) -> None:
        settings = PhantomSettings.coarse()
        study = make_study(8, ("mass",), settings)
        example = replace(
            make_example(Task(8, Prevalence(normal=1.0))), places=locate_findings(study, settings), findings=("mass",)
        )
        example = replace(example, volume=replace(example.volume, hu=study.hu))
        prepared = prepare_example(example, GRID)
        for seed in range(4):
            view = make_view(prepared, GRID, SegmenterErrors(), np.random.default_rng(seed))
            (place,) = view.places
            assert place.shape == view.image.shape == view.organs.shape[1:]
            inside = view.image[place]
            assert float(inside.mean()) > 0.6  # soft tissue, where lung is at 0.2

    def test_tokens_of_an_organ_are_those_of_inference(self, studies: list[Prepared]) -> None:
        torch.manual_seed(0)
        learner = Learner(TINY.make_architecture(100)).eval()
        view = make_view(studies[1], GRID, SegmenterErrors(), np.random.default_rng(0), masks=2)
        encoded = encode_view(learner.model.image.encoder, view, np.random.default_rng(0))
        assert encoded.levels.shape[0] == len(TINY.image.levels) + 1
        assert encoded.organs.shape[:2] == (2, len(ORGANS))
        assert bool(encoded.organs.any(dim=1).any(dim=0).all())


class TestTargets:
    def test_an_item_is_seen_with_enough_tokens_and_not_told_with_few(self) -> None:
        seen, total = torch.tensor([0.0, 0, 1, 1, 6]), torch.tensor([0.0, 40, 40, 2, 80])
        targets, weights = judge(seen, total)
        assert targets.tolist() == [0, 0, 0, 1, 1]
        assert weights.tolist() == [1, 1, 0, 1, 1]

    def test_crops_around_an_item_show_it(self, studies: list[Prepared]) -> None:
        for study in studies:
            for item in np.flatnonzero(study.has_item).tolist():
                view = make_view(study, GRID, NO_ERRORS, np.random.default_rng(item))
                batch = make_batch([view], [item], (4, 3, 4), TINY.image.patch_size, np.random.default_rng(item))
                assert bool((batch.places[0, item] == 1).any() | batch.places[0, item].isnan().any())

    def test_an_item_that_its_mask_leaves_out_is_not_told(self, studies: list[Prepared]) -> None:
        study = next(each for each in studies if each.has_item.any())
        view = make_view(study, GRID, NO_ERRORS, np.random.default_rng(0))
        view = replace(view, organs=torch.where(view.organs == Organ.LUNG.label, 0, view.organs))
        encoder = Learner(TINY.make_architecture(100)).model.image.encoder
        weights = encode_view(encoder, view, np.random.default_rng(0)).weights[0]
        of_lung = torch.tensor([item.organ is Organ.LUNG for item in TAUGHT_ITEMS])
        assert not bool(weights[of_lung].any())


class TestLearner:
    def test_pooling_is_that_of_inference(self) -> None:
        torch.manual_seed(1)
        tower = Learner(TINY.make_architecture(100)).model.image.eval()
        levels, masks = torch.randn(2, 2, 11, 32), torch.rand(2, len(ORGANS), 11) < 0.5
        masks[:, :, 0] = True
        with torch.no_grad():
            found = pool(tower, levels, masks).latents
            for row, organ in enumerate(ORGANS):
                expected = tower.pool(levels[1], organ, masks[1, row]).latent
                assert torch.allclose(found[1, row], expected, atol=1e-5)

    def test_a_crop_of_the_whole_study_is_encoded_as_inference_encodes_the_study(self, studies: list[Prepared]) -> None:
        torch.manual_seed(1)
        encoder = Learner(TINY.make_architecture(100)).model.image.encoder.eval()
        view = make_view(studies[0], GRID, NO_ERRORS, np.random.default_rng(0))
        tokens = tuple(size // patch for size, patch in zip(view.image.shape, TINY.image.patch_size, strict=True))
        whole = tuple(count * patch for count, patch in zip(tokens, TINY.image.patch_size, strict=True))
        z, y, x = (slice(0, size) for size in whole)
        view = View(view.image[z, y, x], view.organs[:, z, y, x], view.places[:, z, y, x], view.has_item)
        batch = make_batch(
            [view], [None], (tokens[0], tokens[1], tokens[2]), TINY.image.patch_size, np.random.default_rng(0)
        )
        with torch.no_grad():
            assert torch.allclose(encode_crops(encoder, batch), encoder(batch.crops), atol=1e-4)

    def test_the_embedding_begins_with_faint_differences_nearer_to_strong_ones(self) -> None:
        learner = Learner(TINY.make_architecture(100))
        generator = torch.Generator().manual_seed(0)
        strengths = torch.linspace(1, 0.1, 80)
        patches = torch.randn(4000, 80, generator=generator) * strengths + 0.4
        learner.spread_patches(patches)
        embedding = learner.model.image.encoder.patch_embedding.project
        with torch.no_grad():
            seen = embedding(patches.view(-1, 1, *TINY.image.patch_size)).flatten(1)
        assert torch.allclose(seen.std(dim=0), strengths[:32].sqrt(), atol=0.1)

    def test_voxels_are_counted_by_token(self) -> None:
        mask = torch.zeros(1, 5, 4, 8, dtype=torch.bool)
        mask[0, 1, 2, 3] = mask[0, 4, 3, 4] = mask[0, 0, 0, 7] = True
        assert count_in_tokens(mask, (5, 4, 4)).tolist() == [[1, 2]]
        assert count_in_tokens(mask[:0], (5, 4, 4)).shape == (0, 2)


class TestWholeBatches:
    def test_an_organ_never_loses_all_its_tokens(self, studies: list[Prepared]) -> None:
        encoder = Learner(TINY.make_architecture(100)).model.image.encoder
        view = make_view(studies[0], GRID, NO_ERRORS, np.random.default_rng(0))
        encoded = encode_view(encoder, view, np.random.default_rng(0))
        for seed in range(5):
            batch = make_whole_batch([encoded], np.random.default_rng(seed))
            assert torch.equal(batch.organs[0].any(dim=1), encoded.organs[0].any(dim=1))


class TestFitting:
    @pytest.mark.parametrize("cut_at", [2, 4])
    def test_a_run_that_was_cut_off_ends_with_the_same_weights(
        self, studies: list[Prepared], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_at: int
    ) -> None:
        monkeypatch.setattr("training.fvlm.fitting._CHECKPOINT_STEPS", 1)
        (tmp_path / "whole").mkdir()
        (tmp_path / "cut").mkdir()
        whole = Fitting(TINY, tmp_path / "whole", print).run(iter(studies))
        stopped = Fitting(TINY, tmp_path / "cut", print)

        class Stopped(Exception):
            """Stands for the end of the process."""

        def save_and_stop() -> None:
            Fitting._save(stopped)
            if stopped._step == cut_at:
                raise Stopped

        monkeypatch.setattr(stopped, "_save", save_and_stop)
        with pytest.raises(Stopped):
            stopped.run(iter(studies))
        resumed = Fitting(TINY, tmp_path / "cut", print).run(iter(studies))
        for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
            assert torch.equal(one, other)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelEntry, Path]:
    folder = tmp_path_factory.mktemp("trained")
    return train(TINY, folder / "state", folder / "catalogue.toml", processes=0), folder


class TestTraining:
    def test_a_tiny_run_publishes_a_model_with_its_card(self, trained: tuple[ModelEntry, Path]) -> None:
        entry, folder = trained
        assert (entry,) == load_catalogue(folder / "catalogue.toml")
        assert set(entry.labels) == set(FVLM_LABELS)
        assert set(entry.thresholds) <= set(TAUGHT)
        assert entry.card is not None
        card = (folder / entry.card).read_text()
        assert "phantoms only, not for clinical use" in card
        assert "python -m training.fvlm --seed 1 --training-studies 5" in card
        assert all(name in card for name in set(FVLM_LABELS) - set(TAUGHT))

    def test_what_is_published_answers_about_a_study(
        self, trained: tuple[ModelEntry, Path], examples: list[Example]
    ) -> None:
        predictor = Predictor(trained[0], torch.device("cpu"))
        windows = predictor.prepare_masked(examples[0].volume, examples[0].labels)
        latents = {organ: latent for window in windows for organ, latent in predictor.encode(window).items()}
        probabilities = predictor.score(latents)
        assert len(probabilities) == len(load_items(trained[0]))
        assert all(0 < value < 1 for value in probabilities)

    def test_a_run_that_had_learnt_everything_publishes_the_same(self, trained: tuple[ModelEntry, Path]) -> None:
        entry, folder = trained
        assert train(TINY, folder / "state", folder / "catalogue.toml", processes=0).digest == entry.digest
